"""Clips of very different subjects with their captions and faithful summaries, and errors planted into these."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

ErrorKind = Literal[
    "wrong noun", "invented object", "wrong order", "cut-off", "wrong number", "wrong colour", "wrong property"
]
ERROR_KINDS: tuple[ErrorKind, ...] = (
    "wrong noun",
    "invented object",
    "wrong order",
    "cut-off",
    "wrong number",
    "wrong colour",
    "wrong property",
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A clip with a summary of it."""

    name: str
    short: str
    frames: tuple[str, ...]
    summary: str
    events: tuple[str, ...] = ()
    """Clauses of a summary, in their order, that stand for themselves."""


def case(name: str, short: str, frames: str, close: str, paraphrase: str, events: str) -> tuple[Case, Case]:
    captions = tuple(line.strip() for line in frames.strip().splitlines())
    parts = tuple(line.strip() for line in events.strip().splitlines())
    return (
        Case(name=f"{name}, close", short=short, frames=captions, summary=close, events=parts),
        Case(name=f"{name}, paraphrase", short=short, frames=captions, summary=paraphrase, events=parts),
    )


PAIRS = (
    case(
        "baker",
        "A baker kneads dough and bakes a loaf of bread.",
        """A baker in a white apron kneads dough on a floured wooden table.
        The dough rests in a round basket covered with a cloth.
        The baker slides the loaf into a brick oven.
        A golden loaf of bread cools on a wire rack.""",
        "A baker in a white apron kneads dough on a floured table. The dough rests in a basket under a cloth. The "
        "baker slides the loaf into a brick oven, and finally a golden loaf cools on a wire rack.",
        "A baker works dough by hand on a wooden surface before it is left to rest in a basket. It goes into the "
        "oven, and the finished bread ends up cooling on a rack.",
        """A baker kneads dough on a floured table.
        The dough rests in a basket under a cloth.
        The loaf goes into a brick oven.
        Bread cools on a wire rack.""",
    ),
    case(
        "skateboard",
        "A teenager on a skateboard does a trick down a flight of stairs.",
        """A teenage boy in a grey hoodie rolls toward a set of concrete stairs on a skateboard.
        The boy jumps over the stairs with the skateboard spinning under his feet.
        He lands at the bottom of the stairs and raises both arms.
        Three friends run to him and hug him.""",
        "A teenage boy in a grey hoodie rolls toward concrete stairs on a skateboard. He jumps over them with the "
        "board spinning under his feet, lands at the bottom and raises both arms. Three friends run up and hug "
        "him.",
        "A boy wearing a gray hoodie skates up to a staircase and leaps, his skateboard turning beneath him. "
        "After the landing he lifts his arms, and then three friends rush over to embrace him.",
        """A boy rolls toward concrete stairs on a skateboard.
        He jumps over the stairs with the skateboard spinning.
        He lands and raises both arms.
        Three friends run to him and hug him.""",
    ),
    case(
        "harbour",
        "Fishing boats return to a harbour at sunset.",
        """Two fishing boats sail toward a small harbour while the sun sets over the sea.
        A fisherman throws a rope to a man on the pier.
        Crates full of fish are lifted onto the pier.
        Seagulls gather around the crates as the lights of the harbour come on.""",
        "Two fishing boats sail toward a small harbour while the sun sets over the sea. A fisherman throws a rope "
        "to a man on the pier, crates full of fish are lifted out, and seagulls gather as the harbour lights come "
        "on.",
        "As the sun goes down, two boats head for a little port. Someone on board tosses a rope to a man on the "
        "dock, then boxes of fish are unloaded and gulls flock around them under the glowing lights.",
        """Two fishing boats sail toward a small harbour.
        A fisherman throws a rope to a man on the pier.
        Crates full of fish are lifted onto the pier.
        Seagulls gather around as the lights come on.""",
    ),
    case(
        "tennis",
        "A woman serves in a tennis match and wins the point.",
        """A woman in a blue dress bounces a yellow ball on a clay court.
        She tosses the ball and swings her racket.
        Her opponent dives and misses the ball.
        The woman clenches her fist while the crowd applauds.""",
        "A woman in a blue dress bounces a yellow ball on a clay court, then tosses it and swings her racket. Her "
        "opponent dives and misses, and the woman clenches her fist while the crowd applauds.",
        "On a clay tennis court, a player dressed in blue bounces the ball before serving. Her rival lunges "
        "without reaching it, after which she makes a fist and the spectators clap.",
        """A woman bounces a yellow ball on a clay court.
        She tosses the ball and swings her racket.
        Her opponent dives and misses.
        The woman clenches her fist while the crowd applauds.""",
    ),
    case(
        "city rain",
        "Pedestrians cross a busy city street in the rain.",
        """Cars wait at a red traffic light on a wet city street.
        Pedestrians with umbrellas cross the street.
        A yellow taxi splashes through a puddle.
        The rain stops and people close their umbrellas.""",
        "Cars wait at a red traffic light on a wet city street while pedestrians with umbrellas cross. A yellow "
        "taxi splashes through a puddle, and when the rain stops, people close their umbrellas.",
        "Vehicles are halted by a red light in the rainy city. People walk across under umbrellas before a yellow "
        "cab drives through a puddle; at last the rain ends and the umbrellas are folded.",
        """Cars wait at a red traffic light.
        Pedestrians with umbrellas cross the street.
        A yellow taxi splashes through a puddle.
        The rain stops and people close their umbrellas.""",
    ),
    case(
        "violin",
        "A violinist performs on stage and the audience stands up.",
        """A young violinist in a black suit walks onto a dark stage.
        The violinist plays with closed eyes under a single spotlight.
        A pianist joins in behind him.
        The audience rises from the red seats and the violinist bows.""",
        "A young violinist in a black suit walks onto a dark stage and plays with closed eyes under a spotlight. "
        "A pianist joins in behind him. Finally the audience rises from the red seats and the violinist bows.",
        "A young musician dressed in black steps onto the stage, playing the violin with his eyes shut in the "
        "spotlight. A piano soon accompanies him, and in the end the crowd stands while he takes a bow.",
        """A young violinist walks onto a dark stage.
        The violinist plays with closed eyes under a spotlight.
        A pianist joins in.
        The audience rises and the violinist bows.""",
    ),
    case(
        "elephant",
        "A herd of elephants drinks at a waterhole in the savanna.",
        """A herd of elephants walks across dry savanna grass in the morning.
        The elephants drink from a muddy waterhole with their trunks.
        A baby elephant rolls in the mud.
        The herd walks away toward distant acacia trees, leaving dust behind.""",
        "A herd of elephants walks across dry savanna grass and drinks from a muddy waterhole with their trunks. "
        "A baby elephant rolls in the mud before the herd walks away toward acacia trees, leaving dust behind.",
        "Elephants cross the dry savanna in the morning and gather to drink at a muddy waterhole. A baby rolls in "
        "the mud, and then the group moves off in the direction of the trees.",
        """A herd of elephants walks across dry savanna grass.
        The elephants drink from a muddy waterhole.
        A baby elephant rolls in the mud.
        The herd leaves toward distant acacia trees.""",
    ),
    case(
        "mechanic",
        "A mechanic repairs a motorcycle in a garage.",
        """A mechanic with tattooed arms loosens a bolt on an old motorcycle with a wrench.
        Engine parts lie on a greasy cloth on the workbench.
        The mechanic fills the tank with fuel from a red can.
        The motorcycle rolls out of the garage with smoke coming from its exhaust.""",
        "A mechanic with tattooed arms loosens a bolt on an old motorcycle with a wrench. Engine parts lie on a "
        "greasy cloth. He fills the tank from a red can, and the motorcycle rolls out of the garage with smoke "
        "from its exhaust.",
        "Using a wrench, a tattooed mechanic undoes a bolt on a vintage motorbike, whose engine parts are spread "
        "over a workbench. Later he pours fuel into the tank and the bike leaves the garage, smoking.",
        """A mechanic loosens a bolt on an old motorcycle with a wrench.
        Engine parts lie on a greasy cloth.
        The mechanic fills the tank with fuel from a red can.
        Smoke comes from the exhaust as it rolls out of the garage.""",
    ),
    case(
        "wedding",
        "A couple gets married in a garden.",
        """A bride in a white dress walks down an aisle between rows of chairs.
        The bride and the groom exchange rings under an arch of roses.
        They kiss while the guests throw petals.
        The couple cuts a tall cake with three tiers.""",
        "A bride in a white dress walks down an aisle between rows of chairs. She and the groom exchange rings "
        "under an arch of roses and kiss while guests throw petals. Then the couple cuts a tall cake with three "
        "tiers.",
        "In a garden, a bride dressed in white comes down the aisle. Rings are exchanged beneath an arch of "
        "roses, the pair kiss amid thrown petals, and finally they slice a three-tier cake.",
        """A bride walks down an aisle between rows of chairs.
        The couple exchanges rings under an arch of roses.
        They kiss while the guests throw petals.
        A tall cake is cut.""",
    ),
    case(
        "painter",
        "A woman paints a landscape.",
        """A woman with curly hair squeezes paint onto a palette.
        She paints blue hills on a canvas with a wide brush.
        She adds a tiny red barn with a thin brush.
        She signs the canvas and steps back from the easel.""",
        "A woman with curly hair squeezes paint onto a palette and paints blue hills on a canvas with a wide "
        "brush. She adds a tiny red barn with a thin brush, signs the canvas and steps back from the easel.",
        "A curly-haired painter puts paint on her palette, then covers the canvas with blue hills. After adding a "
        "small red barn, she signs her picture and moves away from the easel.",
        """A woman squeezes paint onto a palette.
        She paints blue hills on a canvas.
        She adds a tiny red barn.
        She signs the canvas and steps back from the easel.""",
    ),
    case(
        "soccer",
        "Children play soccer on a school field.",
        """Children in orange shirts run after a ball on a grass field.
        A girl kicks the ball past the goalkeeper.
        The team piles up in celebration near the corner flag.
        A coach blows a whistle and looks at his watch.""",
        "Children in orange shirts run after a ball on a grass field. A girl kicks the ball past the goalkeeper "
        "and the team celebrates near the corner flag. The match stops when a coach blows a whistle and looks at "
        "his watch.",
        "Kids wearing orange chase a ball across the grass. One girl scores by shooting past the keeper, her "
        "teammates pile on in joy, and the coach then whistles while checking his watch.",
        """Children run after a ball on a grass field.
        A girl kicks the ball past the goalkeeper.
        The team piles up near the corner flag.
        A coach blows a whistle.""",
    ),
    case(
        "astronaut",
        "An astronaut works outside a space station.",
        """An astronaut in a white suit floats out of a hatch of a space station.
        The astronaut holds a handrail above the blue Earth.
        The astronaut unscrews a panel with a power tool.
        The sun rises behind the solar panels.""",
        "An astronaut in a white suit floats out of a hatch of a space station and holds a handrail above the "
        "blue Earth. The astronaut unscrews a panel with a power tool as the sun rises behind the solar panels.",
        "Leaving the hatch of the station, an astronaut drifts in a white suit and grips a rail high above the "
        "Earth. A tool is used to remove a panel, and the sun comes up behind the solar panels.",
        """An astronaut floats out of a hatch of a space station.
        The astronaut holds a handrail above the blue Earth.
        A panel is unscrewed with a power tool.
        The sun rises behind the solar panels.""",
    ),
    case(
        "kitten",
        "A kitten plays with a ball of wool.",
        """A striped kitten sleeps in a cardboard box.
        The kitten wakes up and looks at a ball of green wool.
        It chases the wool across a carpet.
        The kitten is tangled in the wool under a chair.""",
        "A striped kitten sleeps in a cardboard box, wakes up and looks at a ball of green wool. It chases the "
        "wool across a carpet until it is tangled in it under a chair.",
        "A young cat naps inside a box. Once awake, it notices some green wool, pursues it over the rug, and gets "
        "tangled up beneath a chair.",
        """A striped kitten sleeps in a cardboard box.
        The kitten wakes up and looks at a ball of green wool.
        It chases across a carpet.
        The kitten is tangled under a chair.""",
    ),
    case(
        "train",
        "A steam train crosses a mountain valley.",
        """A black steam locomotive leaves a small station with wooden benches.
        The train crosses a stone viaduct over a river.
        The train enters a dark tunnel.
        Passengers look out of the windows at snowy peaks.""",
        "A black steam locomotive leaves a small station with wooden benches, crosses a stone viaduct over a "
        "river and enters a dark tunnel. Afterwards passengers look out of the windows at snowy peaks.",
        "A steam train pulls out of a little station and travels over a stone bridge above the river before going "
        "into a tunnel. Then the passengers watch snow-covered mountains from their windows.",
        """A black steam locomotive leaves a small station.
        The train crosses a stone viaduct over a river.
        It enters a dark tunnel.
        Passengers look out of the windows at snowy peaks.""",
    ),
    case(
        "doctor",
        "A doctor examines a child.",
        """A doctor in a white coat greets a boy and his mother in a bright room.
        The doctor listens to the boy's chest with a stethoscope.
        A nurse puts a bandage on the boy's arm.
        The boy smiles and holds a lollipop.""",
        "A doctor in a white coat greets a boy and his mother in a bright room and listens to his chest with a "
        "stethoscope. A nurse puts a bandage on the boy's arm, and at the end the boy smiles and holds a "
        "lollipop.",
        "In a bright room, a doctor says hello to a child and his mother. He is examined with a stethoscope, gets "
        "a bandage from the nurse, and smiles with a lollipop in his hand.",
        """A doctor greets a boy and his mother in a bright room.
        The doctor listens to his chest with a stethoscope.
        A nurse puts on a bandage.
        The boy smiles and holds a lollipop.""",
    ),
    case(
        "surfer",
        "A surfer rides a big wave.",
        """A surfer in a black wetsuit carries a board down a rocky path to the beach.
        The surfer paddles out through white foam.
        The surfer stands up on a tall green wave.
        The wave breaks and the surfer falls into the water.""",
        "A surfer in a black wetsuit carries a board down a rocky path to the beach and paddles out through white "
        "foam. Standing up on a tall green wave, the surfer rides until the wave breaks and falls into the water.",
        "Carrying a surfboard, a person in a wetsuit descends a rocky trail to the shore, paddles through the "
        "foam, and gets up on a green wave, only to tumble into the water when it breaks.",
        """A surfer carries a board down a rocky path.
        The surfer paddles out through white foam.
        The surfer stands up on a tall green wave.
        It breaks and the surfer falls.""",
    ),
    case(
        "market",
        "People shop at a vegetable market.",
        """A seller arranges tomatoes and peppers on a stall under a striped awning.
        An old woman in a purple scarf smells a melon.
        The seller weighs the melon on a scale.
        The old woman pays with coins and puts the melon into a basket.""",
        "A seller arranges tomatoes and peppers on a stall under a striped awning. An old woman in a purple scarf "
        "smells a melon, the seller weighs it on a scale, and she pays with coins and puts it into a basket.",
        "Under a striped awning, a vendor lays out tomatoes and peppers. An elderly lady wearing a purple scarf "
        "sniffs a melon; after it has been weighed she hands over coins and places the fruit in her basket.",
        """A seller arranges tomatoes and peppers on a stall.
        An old woman in a purple scarf smells a melon.
        The seller weighs it on a scale.
        She pays with coins.""",
    ),
    case(
        "climber",
        "A climber climbs a cliff.",
        """A climber ties a rope to a harness at the foot of a cliff.
        The climber hangs from an overhang by one hand.
        The climber pulls herself over the edge.
        She sits on the summit and looks over a foggy valley.""",
        "A climber ties a rope to a harness at the foot of a cliff, hangs from an overhang by one hand and pulls "
        "herself over the edge. She sits on the summit and looks over a foggy valley.",
        "At the base of a cliff a woman fastens her rope to a harness. She dangles from an overhang, hauls "
        "herself over the edge and finally rests at the top, gazing across the foggy valley.",
        """A climber ties a rope to a harness.
        She hangs from an overhang by one hand.
        She pulls herself over the edge.
        She sits on the summit above a foggy valley.""",
    ),
    case(
        "robot",
        "A robot arm assembles a toy car in a factory.",
        """A robot arm picks up a plastic wheel from a conveyor belt.
        The robot arm presses four wheels onto a green toy car.
        A worker in yellow gloves checks the toy car.
        Toy cars are packed into boxes.""",
        "A robot arm picks up a plastic wheel from a conveyor belt and presses four wheels onto a green toy car. "
        "A worker in yellow gloves checks the car before toy cars are packed into boxes.",
        "In a factory, a robotic arm takes plastic wheels off the belt and fits four of them to a green toy. An "
        "employee wearing yellow gloves inspects it, and the toys are then put in boxes.",
        """A robot arm picks up a plastic wheel from a conveyor belt.
        It presses four wheels onto a green toy.
        A worker in yellow gloves checks it.
        They are packed into boxes.""",
    ),
    case(
        "campfire",
        "Friends sit around a campfire at night.",
        """Four friends pitch a tent in a pine forest.
        A man lights a fire with a match.
        The friends roast marshmallows on sticks.
        Stars shine above the tent while a woman plays a guitar.""",
        "Four friends pitch a tent in a pine forest. A man lights a fire with a match and the friends roast "
        "marshmallows on sticks. At the end stars shine above the tent while a woman plays a guitar.",
        "Four people put up a tent among the pines, then one man starts a campfire. Marshmallows are toasted over "
        "it, and later someone plays guitar under the stars.",
        """Four friends pitch a tent in a pine forest.
        A man lights a fire with a match.
        Marshmallows are roasted on sticks.
        Stars shine while a woman plays a guitar.""",
    ),
    case(
        "drone coast",
        "Aerial view of a lighthouse on a coast.",
        """Aerial view of a red and white lighthouse on a rocky cliff.
        Waves crash against the rocks below the lighthouse.
        A narrow road winds along the coast past green meadows with sheep.
        A village with white houses lies around a bay.""",
        "Aerial view of a red and white lighthouse on a rocky cliff, with waves crashing against the rocks below. "
        "The camera follows a narrow road along the coast past green meadows with sheep and reaches a village "
        "with white houses.",
        "Seen from above, a lighthouse painted red and white stands on a cliff over crashing waves. The view then "
        "moves along a winding road by grassy fields and sheep before arriving at a village by a bay.",
        """A red and white lighthouse stands on a rocky cliff.
        Waves crash against the rocks.
        A narrow road winds past green meadows with sheep.
        A village with white houses lies around a bay.""",
    ),
    case(
        "laundry",
        "A father and his daughter hang up laundry.",
        """A father carries a basket of wet laundry into the yard.
        His daughter hands him clothes pegs.
        They hang white sheets on a line.
        The daughter hides behind a sheet and laughs.""",
        "A father carries a basket of wet laundry into the yard, and his daughter hands him clothes pegs. "
        "Together they hang white sheets on a line before the daughter hides behind a sheet and laughs.",
        "A man brings a basket of damp washing outside while his daughter passes him pegs. They put the sheets up "
        "on the line, and the girl ends up hiding behind one of them, laughing.",
        """A father carries a basket of wet laundry into the yard.
        His daughter hands him clothes pegs.
        They hang white sheets on a line.
        She hides and laughs.""",
    ),
    case(
        "ice",
        "A figure skater performs a jump.",
        """A figure skater in a sparkling silver dress glides across the ice.
        The skater jumps and spins in the air.
        She lands on one foot and stretches out her arms.
        Judges at a long table write down numbers.""",
        "A figure skater in a sparkling silver dress glides across the ice, jumps and spins in the air. She lands "
        "on one foot and stretches out her arms, and judges at a long table write down numbers.",
        "Wearing a glittering silver dress, a skater slides over the ice and leaps, spinning. After she lands "
        "with her arms spread, the judges sitting at a table write their numbers.",
        """A figure skater glides across the ice.
        The skater jumps and spins in the air.
        She lands on one foot.
        Judges at a long table write down numbers.""",
    ),
    case(
        "garden",
        "A man plants a tree.",
        """A man with a straw hat digs a hole in a lawn with a spade.
        He lowers a young apple tree into the hole.
        He fills the hole with soil and waters it from a can.
        A robin lands on a branch of the tree.""",
        "A man with a straw hat digs a hole in a lawn with a spade and lowers a young apple tree into it. He "
        "fills the hole with soil and waters it from a can. A robin lands on a branch of the tree.",
        "A man in a straw hat makes a hole in the grass, sets an apple tree in it, adds soil and waters it. "
        "Finally a bird alights on one of the branches.",
        """A man digs a hole in a lawn with a spade.
        He lowers a young apple tree.
        He adds soil and water from a can.
        A robin lands on a branch.""",
    ),
    case(
        "office",
        "A team meets in an office.",
        """Five people sit around a table with laptops in a glass office.
        A woman in a green blouse draws a diagram on a whiteboard.
        A man with a beard asks a question and points at the diagram.
        The team shakes hands and leaves the room.""",
        "Five people sit around a table with laptops in a glass office. A woman in a green blouse draws a diagram "
        "on a whiteboard, and a man with a beard asks a question and points at it. Then the team shakes hands and "
        "leaves.",
        "Five people are seated with their laptops at a table. A woman wearing a green blouse sketches a diagram "
        "on the board, a bearded man asks about it, and everyone shakes hands before going out of the room.",
        """Five people sit around a table with laptops.
        A woman in a green blouse draws a diagram on a whiteboard.
        A man with a beard asks a question.
        The team shakes hands and leaves.""",
    ),
    case(
        "sushi",
        "A chef makes sushi.",
        """A chef rinses rice in a metal bowl.
        He slices a piece of salmon with a long knife.
        He rolls rice and cucumber in a sheet of seaweed.
        Eight pieces of sushi lie on a black plate beside a small bowl of soy sauce.""",
        "A chef rinses rice in a metal bowl and slices a piece of salmon with a long knife. He rolls rice and "
        "cucumber in a sheet of seaweed. Eight pieces of sushi lie on a black plate beside soy sauce.",
        "A cook washes rice in a bowl before cutting salmon with a long blade. Rice and cucumber are rolled up in "
        "seaweed, and eight sushi pieces are served on a black dish next to some sauce.",
        """A chef rinses rice in a metal bowl.
        He slices a piece of salmon with a long knife.
        Cucumber is rolled in a sheet of seaweed.
        Sushi lies on a black plate.""",
    ),
)

_WRONG_NOUNS = """
penguin accordion helicopter cactus submarine dragon trumpet pineapple tractor umbrella castle giraffe ladder
volcano sofa parrot cannon canoe typewriter pumpkin crocodile telescope piano waterfall
"""
WRONG_NOUNS = tuple(_WRONG_NOUNS.split())
SIBLINGS = {
    "bread": "pizza", "dough": "ice cream", "boy": "girl", "boats": "buses", "rope": "chain", "fish": "apples",
    "woman": "man", "ball": "book", "racket": "hammer", "taxi": "van", "umbrellas": "balloons", "violinist": "dancer",
    "elephants": "zebras", "mechanic": "teacher", "wrench": "spoon", "bride": "nurse", "rings": "letters",
    "cake": "salad", "canvas": "window", "barn": "boat", "girl": "woman", "coach": "priest", "watch": "phone",
    "astronaut": "diver", "kitten": "puppy", "wool": "wire", "river": "road", "tunnel": "barn", "doctor": "lawyer",
    "lollipop": "kite", "surfer": "skier", "wave": "hill", "tomatoes": "shoes", "melon": "hammer", "rope ": "ladder",
    "cliff": "tree", "robot": "monkey", "wheels": "doors", "tent": "piano", "guitar": "drum", "lighthouse": "windmill",
    "sheep": "cows", "father": "teacher", "laundry": "wood", "judges": "children", "ice": "sand", "tree": "fence",
    "hole": "bench", "laptops": "plates", "diagram": "cat", "rice": "potatoes", "salmon": "cheese", "knife": "saw",
    "baker": "farmer", "oven": "fridge", "stairs": "mountain", "friends": "horses", "train": "plane",
    "locomotive": "airplane", "seagulls": "bats", "stars": "fireworks", "harbour": "airport", "port": "farm",
    "motorbike": "sailboat", "stage": "beach", "skater": "swimmer",
}  # fmt: skip
"""A word of the summaries -> something of another kind that could stand in its place."""
INVENTED = (
    "a small {} stands nearby",
    "next to a {}",
    "while a {} lies on the ground",
    "and a {} can be seen",
    "with a {} hanging on the wall",
)
COLOUR_WORDS = (
    "red",
    "blue",
    "green",
    "yellow",
    "purple",
    "orange",
    "black",
    "white",
    "grey",
    "gray",
    "silver",
    "golden",
)
PROPERTIES = {
    "small": "huge", "little": "big", "tiny": "large", "big": "small", "large": "tiny", "young": "old", "old": "new",
    "dark": "bright", "wooden": "plastic", "brick": "wooden", "stone": "steel", "striped": "spotted", "dry": "wet",
    "wet": "dry", "long": "short", "tall": "short", "thin": "thick", "wide": "narrow", "closed": "open",
    "cardboard": "wooden", "metal": "glass", "calm": "stormy", "heavy": "light",
}  # fmt: skip
"""A property or a material -> one that contradicts it."""
NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight")


def faithful_cases() -> list[Case]:
    """Return every clip with each of its faithful summaries, and with its events in several wordings."""
    cases = [one for pair in PAIRS for one in pair]
    for pair in PAIRS:
        for index, summary in enumerate(event_wordings(pair[0].events)):
            cases.append(replace(pair[0], name=f"{pair[0].name}, wording {index}", summary=summary))
    return cases


def event_wordings(events: tuple[str, ...]) -> list[str]:
    """Return texts that tell four events in their order."""
    first, second, third, fourth = (event.rstrip(".") for event in events)
    low = [_lower_first(event) for event in (first, second, third, fourth)]
    return [
        f"{first}. {second}. {third}. {fourth}.",
        f"At first, {low[0]}, then {low[1]}. Afterwards {low[2]}, and finally {low[3]}.",
        f"{first} before {low[1]}. After {low[2]}, {low[3]}.",
        f"{second} after {low[0]}. Before {low[3]}, {low[2]}.",
    ]


def planted(kind: ErrorKind, seed: int, cases: list[Case]) -> Iterator[tuple[Case, Case]]:
    """Yield each faithful case into which an error can be planted, and the case with the error."""
    for index, good in enumerate(cases):
        rng = random.Random(f"{seed}-{kind}-{index}")
        bad = _plant(kind, good, rng)
        if bad is not None:
            yield good, replace(good, name=f"{good.name}: {kind}", summary=bad)


def closed_cuts(cases: list[Case]) -> Iterator[str]:
    """Yield the later half of each summary cut after every word inside of a sentence, with a full stop put there."""
    for good in cases:
        words = good.summary.split()
        for num_words in range(len(words) // 2, len(words)):
            if not words[num_words - 1].endswith("."):
                yield " ".join(words[:num_words]).rstrip(",;:") + "."


def _plant(kind: ErrorKind, good: Case, rng: random.Random) -> str | None:
    text = good.summary
    if kind == "wrong noun":
        names = [name for name in SIBLINGS if re.search(rf"\b{name.strip()}\b", text, re.IGNORECASE)]
        if not names:
            return None
        name = rng.choice(names)
        new = SIBLINGS[name] if rng.random() < 0.6 else rng.choice(WRONG_NOUNS)
        if new in " ".join((good.short, *good.frames)).lower():
            return None
        return re.sub(rf"\b{name.strip()}\b", new, text, flags=re.IGNORECASE)
    if kind == "invented object":
        sentences = re.split(r"(?<=[.])\s+", text)
        place = rng.randrange(len(sentences))
        known = " ".join((good.short, *good.frames))
        added = rng.choice(INVENTED).format(rng.choice([noun for noun in WRONG_NOUNS if noun not in known]))
        sentences[place] = f"{sentences[place].rstrip('.')} {added}."
        return " ".join(sentences)
    if kind == "wrong order":
        if "wording" not in good.name:
            sentences = re.split(r"(?<=[.])\s+", text)
            return " ".join(reversed(sentences)) if len(sentences) > 1 else None
        events = list(good.events)
        first = rng.randrange(len(events) - 1)
        second = rng.randrange(first + 1, len(events))
        events[first], events[second] = events[second], events[first]
        return event_wordings(tuple(events))[int(good.name[-1])]
    if kind == "cut-off":
        cut = text[: rng.randrange(len(text) // 3, len(text) - 2)].rstrip()
        return None if cut.endswith(".") else cut
    if kind == "wrong number":
        numbers = [number for number in NUMBER_WORDS if re.search(rf"\b{number}\b", text, re.IGNORECASE)]
        if not numbers:
            return None
        number = rng.choice(numbers)
        new = rng.choice(
            [other for other in NUMBER_WORDS if other != number and other not in " ".join(good.frames).lower()]
        )
        return re.sub(rf"\b{number}\b", new, text, count=1, flags=re.IGNORECASE)
    if kind == "wrong property":
        known = " ".join((good.short, *good.frames)).lower()
        names = [name for name in PROPERTIES if re.search(rf"\b{name}\b", text) and PROPERTIES[name] not in known]
        if not names:
            return None
        name = rng.choice(names)
        return re.sub(rf"\b{name}\b", PROPERTIES[name], text)
    colours = [colour for colour in COLOUR_WORDS if re.search(rf"\b{colour}\b", text)]
    if not colours:
        return None
    colour = rng.choice(colours)
    new = rng.choice(
        [other for other in ("red", "blue", "green", "yellow", "purple", "black") if other not in " ".join(good.frames)]
    )
    return re.sub(rf"\b{colour}\b", new, text, count=1)


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
