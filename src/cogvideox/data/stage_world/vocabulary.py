"""The words of the captions; the first entry of each row is its canonical form, and each row means one thing."""

from cogvideox.data.stage_world.scene import Action, Actor, Direction, Place, SecondObject, Weather

ACTOR_NOUNS: dict[Actor, tuple[str, ...]] = {
    "cat": ("cat", "kitten", "kitty"),
    "elephant": ("elephant", "cartoon elephant"),
    "pig": ("pig", "piglet", "piggy"),
    "horse": ("horse", "pony"),
    "turtle": ("turtle", "tortoise"),
    "penguin": ("penguin", "cartoon penguin"),
    "dinosaur": ("dinosaur", "dino", "t-rex"),
    "parrot": ("parrot", "bird", "tropical bird"),
    "whale": ("whale", "cartoon whale"),
    "octopus": ("octopus", "cartoon octopus"),
    "car": ("car", "automobile"),
    "taxi": ("taxi", "cab"),
    "robot": ("robot", "android", "bot"),
    "snowman": ("snowman", "cartoon snowman"),
    "pumpkin": ("pumpkin", "halloween pumpkin", "jack-o'-lantern"),
    "soccer ball": ("soccer ball", "football", "ball"),
}

ACTOR_COLOURS: dict[Actor, str] = {
    "cat": "orange",
    "elephant": "gray",
    "pig": "pink",
    "horse": "brown",
    "turtle": "green",
    "penguin": "purple and white",
    "dinosaur": "green",
    "parrot": "colorful",
    "whale": "blue",
    "octopus": "pink",
    "car": "red",
    "taxi": "yellow",
    "robot": "white",
    "snowman": "white",
    "pumpkin": "orange",
    "soccer ball": "blue and white",
}

ACTION_VERBS: dict[Action, tuple[str, ...]] = {
    "walks": ("walks", "strolls", "marches", "is walking", "wanders"),
    "hops": ("hops", "bounces", "is hopping", "skips"),
    "rolls": ("rolls", "tumbles", "is rolling"),
    "flies": ("flies", "soars", "is flying", "glides through the air"),
    "jumps": ("jumps up and down", "jumps in place", "keeps jumping", "is jumping on the spot"),
    "spins": ("spins around", "twirls", "is spinning", "turns around and around"),
    "dances": ("dances", "is dancing", "sways from side to side", "rocks back and forth"),
    "falls": ("falls down", "drops to the ground", "is falling down", "falls from above"),
}

ACTOR_VERBS: dict[tuple[Actor, Action], tuple[str, ...]] = {
    ("car", "walks"): ("drives", "is driving"),
    ("taxi", "walks"): ("drives", "is driving"),
    ("penguin", "walks"): ("waddles",),
}
"""Further verbs that fit only one actor."""

AIR_WORDS = frozenset({"air", "sky"})
"""A verb phrase with one of these is untrue under water."""

DIRECTION_PHRASES: dict[Direction, tuple[str, ...]] = {
    "left": ("to the left", "toward the left", "from right to left", "leftwards", "to the left side"),
    "right": ("to the right", "toward the right", "from left to right", "rightwards", "to the right side"),
}

PLACE_PHRASES: dict[Place, tuple[str, ...]] = {
    "meadow": ("in a meadow", "on a green meadow", "in a grassy field", "on the grass"),
    "beach": ("on a beach", "at the beach", "at the seaside", "on a sandy shore"),
    "desert": ("in a desert", "in the desert", "among sand dunes"),
    "snowy field": ("in a snowy field", "on the snow", "in a winter landscape"),
    "city": ("in a city", "on a city street", "in front of tall buildings"),
    "underwater": ("underwater", "under the sea", "in the deep ocean"),
    "sunset": ("at sunset", "in front of the setting sun", "on purple hills at sunset"),
    "night": ("at night", "under a bright moon", "on a moonlit night"),
}

SECOND_OBJECT_NOUNS: dict[SecondObject, tuple[str, ...]] = {
    "tree": ("tree", "green tree"),
    "house": ("house", "little house", "cottage"),
    "cactus": ("cactus", "green cactus"),
    "balloon": ("balloon", "red balloon"),
}

SECOND_OBJECT_PHRASES: tuple[str, ...] = (
    " with {noun} in the background",
    ", with {noun} on the {side} side",
    " near {noun}",
    ", and there is {noun} behind",
)

WEATHER_PHRASES: dict[Weather, tuple[str, ...]] = {
    "rain": ("in the rain", "while it is raining", "as rain falls"),
    "snow": ("while snow is falling", "while it is snowing", "as snowflakes fall"),
}

STYLE_WORDS: tuple[str, ...] = ("cute", "lovely", "cheerful")

CAMERA_REMARKS: tuple[str, ...] = ("the camera is still", "static camera", "fixed shot")

HELD_OUT_SYNONYMS: dict[str, tuple[str, ...]] = {
    "cat": ("tomcat", "feline"),
    "elephant": ("pachyderm", "jumbo"),
    "pig": ("hog", "swine"),
    "horse": ("steed", "stallion"),
    "turtle": ("terrapin",),
    "penguin": ("antarctic seabird",),
    "dinosaur": ("tyrannosaurus",),
    "parrot": ("macaw",),
    "whale": ("cetacean", "ocean giant"),
    "octopus": ("cephalopod",),
    "car": ("sedan", "motorcar"),
    "taxi": ("taxicab",),
    "robot": ("droid", "humanoid machine"),
    "snowman": ("snow figure", "man made of snow"),
    "pumpkin": ("gourd",),
    "soccer ball": ("kickball",),
    "walks": ("ambles", "paces"),
    "hops": ("bounds", "leaps"),
    "rolls": ("somersaults", "cartwheels"),
    "flies": ("levitates", "sails through the air"),
    "jumps": ("leaps into the air", "springs up again and again"),
    "spins": ("pirouettes", "whirls"),
    "dances": ("boogies", "wiggles"),
    "falls": ("plummets", "comes crashing down"),
    "meadow": ("on a lawn", "on a pasture"),
    "beach": ("on the coast", "by the seashore"),
    "desert": ("in a dry wasteland", "in the sahara"),
    "snowy field": ("on frosty ground", "in a white arctic scene"),
    "city": ("in an urban setting", "downtown"),
    "underwater": ("beneath the waves", "near the seabed"),
    "sunset": ("at dusk", "at sundown"),
    "night": ("after dark", "by moonlight"),
}
"""Words for each concept that training never uses: they measure whether the text encoder carries synonyms over."""
