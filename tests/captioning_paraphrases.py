"""Clips with summaries that retell them freely, as language models do: two each, both true to what is given."""

RETOLD: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        "A man makes coffee in a cafe.",
        (
            "A barista grinds coffee beans behind a wooden counter.",
            "The barista presses the coffee into a metal filter.",
            "Dark espresso flows into a white cup.",
            "He pours steamed milk and draws a leaf on the coffee.",
        ),
        (
            "Behind a wooden counter, a barista grinds beans, tamps the coffee into a filter and brews espresso "
            "into a white cup, finishing it with latte art in the shape of a leaf.",
            "A barista prepares coffee: beans are ground, packed into a metal filter, and espresso drips into a "
            "cup. Then milk is poured to form a leaf pattern on top.",
        ),
    ),
    (
        "A young girl learns to ride a bicycle in a park.",
        (
            "A girl wearing a pink helmet sits on a small bicycle while her father holds the seat.",
            "The father runs beside the bicycle along a tree-lined path.",
            "The girl rides alone and laughs.",
            "The bicycle wobbles and she falls onto the grass.",
            "Her father helps her up and hugs her.",
        ),
        (
            "A little girl in a pink helmet sits on a bike as her dad steadies it from behind. He jogs alongside "
            "her down the path until she pedals by herself, laughing. She then loses balance and tumbles onto the "
            "grass, and her father picks her up and gives her a hug.",
            "A father teaches his daughter to ride a bicycle on a tree-lined park path. She rides on her own for "
            "a while before falling on the lawn, where he comforts her with an embrace.",
        ),
    ),
    (
        "Basketball players compete in an indoor arena.",
        (
            "Two teams in red and white jerseys line up on a basketball court.",
            "A tall player in a red jersey dribbles past a defender.",
            "The player jumps and dunks the ball.",
            "Fans in the stands wave banners and cheer.",
        ),
        (
            "Two basketball teams, one in red and one in white, take their places on the court of an indoor "
            "arena. A tall player in red dribbles around a defender, leaps and slams the ball through the hoop, "
            "sending the crowd into cheers and waving banners.",
            "In an arena, a basketball game gets under way. A player wearing a red jersey drives past an opponent "
            "and dunks, and the fans celebrate by waving their banners.",
        ),
    ),
    (
        "A fox hunts in a snowy field.",
        (
            "A red fox walks slowly through deep snow.",
            "The fox stops and tilts its head, listening.",
            "The fox leaps into the air and dives headfirst into the snow.",
            "The fox lifts its head with a mouse in its mouth.",
        ),
        (
            "A red fox creeps through deep snow, pauses to listen with its head tilted, then springs into the air "
            "and plunges headfirst into the snow. It emerges with a mouse in its jaws.",
            "In a snow-covered field, a fox is on the prowl. After listening carefully, the animal pounces into "
            "the snow and catches a mouse.",
        ),
    ),
    (
        "Time-lapse of a city from day to night.",
        (
            "Skyscrapers stand under a clear blue sky in the afternoon.",
            "Clouds move quickly over the skyline as the sun sets.",
            "The sky turns orange and purple.",
            "Office windows and street lights glow in the dark.",
        ),
        (
            "A time-lapse shows skyscrapers beneath a clear blue sky. Clouds race over the skyline while the sun "
            "goes down, the sky takes on orange and purple hues, and finally the windows and streetlights light "
            "up in the darkness.",
            "Day gives way to night over a city skyline: blue sky, drifting clouds, an orange and purple sunset, "
            "and at last glowing windows and street lamps.",
        ),
    ),
    (
        "A potter makes a vase on a wheel.",
        (
            "A pair of wet hands shapes a lump of grey clay on a spinning wheel.",
            "The clay grows into a tall vase with a narrow neck.",
            "A wire cuts the vase from the wheel.",
            "The finished vase stands on a shelf with other pots.",
        ),
        (
            "Wet hands shape a lump of grey clay on a spinning potter's wheel, drawing it up into a tall vase "
            "with a narrow neck. The vase is cut off with a wire and placed on a shelf among other pots.",
            "A craftsman's hands mold clay on a turning wheel until it becomes a slender vase. It is sliced free "
            "with a wire and later rests on a shelf beside more pottery.",
        ),
    ),
    (
        "Scuba divers explore a coral reef.",
        (
            "Two divers with yellow tanks swim above a colorful coral reef.",
            "A sea turtle glides past the divers.",
            "One diver points a flashlight into a cave.",
            "A school of silver fish surrounds the divers.",
        ),
        (
            "Two divers wearing yellow tanks swim over a colorful coral reef. A sea turtle glides by, one of the "
            "divers shines a flashlight into a cave, and a school of silvery fish swirls around them.",
            "Underwater, a pair of scuba divers explores a reef full of coral. They meet a turtle, look into a "
            "cave with a torch, and end up in the middle of a shoal of fish.",
        ),
    ),
    (
        "A street musician plays saxophone.",
        (
            "An elderly man in a brown hat plays a saxophone on a street corner.",
            "A young couple stops and listens.",
            "The woman drops a coin into an open case.",
            "The man nods and continues playing as the couple walks away.",
        ),
        (
            "On a street corner, an old man wearing a brown hat plays the saxophone. A young couple pauses to "
            "listen, the woman tosses a coin into his case, and he nods in thanks and keeps playing as they "
            "leave.",
            "An elderly street performer in a hat plays his saxophone. Passersby stop to listen and give him "
            "money before moving on.",
        ),
    ),
    (
        "Firefighters put out a burning house.",
        (
            "Thick black smoke rises from the roof of a two-story house.",
            "Firefighters unroll a hose from a red fire truck.",
            "They spray water through a broken window.",
            "A firefighter carries a small dog out of the house.",
            "The house is blackened and the flames are gone.",
        ),
        (
            "Black smoke billows from the roof of a two-story house. Firefighters unroll a hose from their red "
            "truck and spray water through a broken window. One of them carries a small dog outside, and in the "
            "end the fire is out, leaving a charred house.",
            "A house is on fire. The fire crew arrives with a red engine, douses the blaze with water and rescues "
            "a dog, until only the blackened building remains.",
        ),
    ),
    (
        "A woman practices yoga on a beach.",
        (
            "A woman in purple leggings rolls out a mat on the sand.",
            "She stretches her arms toward the sky.",
            "She balances on one leg in front of the ocean.",
            "She lies on her back with closed eyes as waves roll in.",
        ),
        (
            "A woman in purple leggings spreads a mat on the beach and reaches her arms up to the sky. She then "
            "stands on one leg facing the sea and finally lies down with her eyes closed while waves wash ashore.",
            "On a sandy beach, a lady does yoga by the water, first stretching, then balancing on a single leg, "
            "and at last relaxing on her mat with her eyes shut.",
        ),
    ),
    (
        "Workers build a brick wall.",
        (
            "A bricklayer spreads mortar with a trowel.",
            "He places a brick and taps it with a hammer.",
            "Another worker brings more bricks in a wheelbarrow.",
            "The wall reaches the height of a man.",
        ),
        (
            "A bricklayer spreads mortar, sets a brick in place and taps it with his hammer. A second worker "
            "delivers more bricks in a wheelbarrow, and the wall grows until it is as tall as a man.",
            "Two workers are building a wall. One lays bricks with mortar while the other carts in more of them, "
            "and gradually the wall rises.",
        ),
    ),
    (
        "A cat knocks a glass off a table.",
        (
            "A grey cat sits on a kitchen table beside a glass of water.",
            "The cat pushes the glass with its paw.",
            "The glass falls and shatters on the floor.",
            "The cat looks down at the broken glass.",
        ),
        (
            "A grey cat sits on a kitchen table next to a glass of water. It nudges the glass with its paw until "
            "it falls and breaks on the floor, then peers down at the shards.",
            "A gray cat on a table bats at a glass, which drops to the floor and smashes. The animal stares down "
            "at the mess.",
        ),
    ),
    (
        "A ballet class rehearses.",
        (
            "Six young dancers in black leotards stand at a barre in front of a large mirror.",
            "An older teacher claps her hands to set the rhythm.",
            "The dancers rise on their toes.",
            "One dancer spins across the wooden floor.",
        ),
        (
            "Six young dancers wearing black leotards line up at the barre before a big mirror. Their teacher "
            "claps to keep time, the dancers lift onto their toes, and one of them whirls across the wooden "
            "floor.",
            "In a dance studio, ballerinas practice at the barre while an instructor claps out the beat. They go "
            "up on tiptoe, and then a single dancer pirouettes across the room.",
        ),
    ),
    (
        "A tractor ploughs a field.",
        (
            "A green tractor pulls a plough across a brown field at dawn.",
            "Seagulls follow the tractor and pick worms from the soil.",
            "The farmer stops and wipes his forehead.",
            "The farmer drinks from a bottle while leaning on the wheel.",
        ),
        (
            "At dawn a green tractor drags a plough through a brown field, trailed by gulls that pick worms out "
            "of the soil. The farmer halts, wipes his brow and takes a drink from a bottle, leaning against the "
            "wheel.",
            "A farmer works his land with a tractor, birds flocking behind it in search of food. He then takes a "
            "break to drink some water.",
        ),
    ),
    (
        "A child opens a birthday present.",
        (
            "A boy sits at a table with a cake and seven candles.",
            "The boy blows out the candles.",
            "He tears blue paper off a large box.",
            "A puppy jumps out of the box and licks his face.",
        ),
        (
            "A boy sits before a birthday cake with seven candles and blows them out. He rips the blue wrapping "
            "paper off a large box, and a puppy leaps out and licks his face.",
            "At his birthday party, a child blows out seven candles, unwraps a big gift and is greeted by a "
            "little dog that jumps up to lick him.",
        ),
    ),
    (
        "A plane takes off from an airport.",
        (
            "A passenger plane taxis along a wet runway in the evening.",
            "The engines roar and the plane speeds up.",
            "The nose lifts and the wheels leave the ground.",
            "The plane disappears into grey clouds.",
        ),
        (
            "In the evening, an airliner rolls down a wet runway. Its engines roar as it accelerates, the nose "
            "rises, the wheels lift off, and it vanishes into grey clouds.",
            "A jet taxis on a rain-soaked airstrip at dusk, picks up speed and takes off, climbing until it is "
            "lost in the clouds.",
        ),
    ),
    (
        "Two men play chess in a park.",
        (
            "Two old men sit at a stone table with a chessboard under a tree.",
            "One man moves a black knight and presses a clock.",
            "The other man scratches his beard and thinks.",
            "He knocks over his king and they shake hands.",
        ),
        (
            "Two elderly men play chess at a stone table beneath a tree. One moves a black knight and hits the "
            "clock, while his opponent scratches his beard in thought before tipping over his king. They shake "
            "hands.",
            "Under a tree in a park, a pair of seniors are absorbed in a game of chess. After a move with the "
            "knight, the other player ponders, then resigns, and the match ends with a handshake.",
        ),
    ),
    (
        "A river flows through a canyon.",
        (
            "Aerial shot of a turquoise river between steep red canyon walls.",
            "White rapids foam around large boulders.",
            "Three people in a yellow raft paddle through the rapids.",
            "The raft reaches calm water and the people raise their paddles.",
        ),
        (
            "From above, a turquoise river winds between steep red canyon walls. The water foams white around "
            "boulders, and three people in a yellow raft paddle through the rapids until they reach calm water "
            "and lift their paddles in celebration.",
            "A raft carrying three rafters makes its way through the white water of a red-walled canyon and "
            "finally drifts into a quiet stretch of the river.",
        ),
    ),
    (
        "A street artist sprays graffiti on a wall.",
        (
            "A person in a hooded jacket shakes a spray can in front of a brick wall.",
            "The person paints a large purple letter on the wall.",
            "A yellow outline appears around the letter.",
            "The person steps back and takes a photo with a phone.",
        ),
        (
            "A hooded person shakes a spray can in front of a brick wall, sprays a large purple letter and adds a "
            "yellow outline. Stepping back, they photograph the finished work with a phone.",
            "Wearing a hooded jacket, a graffiti artist spray-paints a purple letter outlined in yellow onto "
            "bricks, then snaps a picture of it.",
        ),
    ),
    (
        "A thunderstorm over a wheat field.",
        (
            "Dark clouds gather over a golden wheat field.",
            "Wind bends the wheat.",
            "Lightning strikes a lonely tree on a hill.",
            "Rain pours down and a rainbow appears after the storm.",
        ),
        (
            "Dark clouds build over a golden wheat field and the wind bends the stalks. A bolt of lightning "
            "strikes a lone tree on a hill, heavy rain follows, and a rainbow appears once the storm has passed.",
            "A storm rolls in above a field of wheat. Gusts sweep the crop, lightning hits a solitary tree, and "
            "after the downpour a rainbow forms in the sky.",
        ),
    ),
    (
        "A woman waters plants on a balcony.",
        (
            "A woman with glasses fills a metal watering can at a sink.",
            "She waters red geraniums on a small balcony.",
            "She cuts dry leaves with scissors.",
            "A bee lands on a flower.",
        ),
        (
            "A woman wearing spectacles fills a metal can at the sink, then waters the red geraniums on her small "
            "balcony. She trims dry leaves with scissors before a bee settles on one of the flowers.",
            "On a little balcony, a lady tends to her flowers: after filling a can with water, she pours it over "
            "the plants and snips off dried leaves. An insect then lands on a blossom.",
        ),
    ),
    (
        "Cyclists race through a village.",
        (
            "A group of cyclists in colorful jerseys rides along a country road.",
            "The cyclists lean into a sharp bend between stone houses.",
            "Spectators clap and ring cowbells.",
            "The first cyclist crosses the finish line with raised arms.",
        ),
        (
            "A group of cyclists in bright jerseys pedals along a country road and leans into a tight bend "
            "between stone houses. The crowd claps and rings cowbells as the leader crosses the finish line with "
            "his arms in the air.",
            "Bike racers ride down a rural road, turn a corner in a village, and pass cheering people. The winner "
            "raises both arms at the finish.",
        ),
    ),
    (
        "A barber cuts a man's hair.",
        (
            "A barber with a tattoo drapes a black cape over a customer.",
            "He trims the customer's hair with clippers.",
            "He shaves the neck with a razor.",
            "The customer looks into a mirror and smiles.",
        ),
        (
            "A tattooed barber puts a black cape around his customer, trims his hair with clippers and shaves his "
            "neck using a razor. In the end the man checks the mirror and smiles.",
            "Inside a barbershop, a client gets a haircut. The barber uses clippers and then a razor, and finally "
            "the satisfied man sees himself in the mirror.",
        ),
    ),
    (
        "Penguins on an icy shore.",
        (
            "Hundreds of penguins stand on an icy shore.",
            "Several penguins slide into the water on their bellies.",
            "A seal swims close to the ice.",
            "The penguins rush back onto the shore.",
        ),
        (
            "Hundreds of penguins gather on an icy shore, and several slide on their bellies into the water. When "
            "a seal swims near the ice, the birds hurry back onto land.",
            "A colony of penguins stands at the edge of the sea. Some of the birds enter the water, but a seal "
            "approaches and they quickly return to shore.",
        ),
    ),
    (
        "A boy flies a kite on a hill.",
        (
            "A boy in yellow boots unrolls the string of a kite.",
            "The kite rises into a cloudy sky.",
            "The string tears and the kite drifts away.",
            "The boy chases the kite down the hill.",
        ),
        (
            "A boy wearing yellow boots unrolls a kite's string and the kite climbs into the cloudy sky. The "
            "string snaps, the kite floats off, and he runs down the hill after it.",
            "On a hill, a child launches a kite. Once it is high in the clouds its line breaks, and he runs to "
            "catch it.",
        ),
    ),
    (
        "A scientist works in a laboratory.",
        (
            "A scientist in a lab coat puts on blue gloves.",
            "She drops a clear liquid into a test tube with a pipette.",
            "The liquid turns purple.",
            "She looks through a microscope and writes in a notebook.",
        ),
        (
            "A scientist in a lab coat pulls on blue gloves and uses a pipette to add clear liquid to a test "
            "tube. The liquid turns purple. She then peers through a microscope and takes notes in a notebook.",
            "In a laboratory, a researcher wearing gloves performs an experiment: the fluid in a tube changes to "
            "purple, after which she examines a sample under a microscope and records her findings.",
        ),
    ),
    (
        "A man repairs a bicycle in a workshop.",
        (
            "A man with a moustache turns a bicycle upside down.",
            "He removes the front wheel with a wrench.",
            "He patches the inner tube with glue.",
            "He pumps air into the tire and spins the wheel.",
        ),
        (
            "A man with a moustache flips a bicycle over and takes off the front wheel using a wrench. He glues a "
            "patch on the inner tube, pumps up the tire and gives the wheel a spin.",
            "In his workshop, a mechanic fixes a bike. After removing the wheel, he repairs the tube and finally "
            "inflates the tire.",
        ),
    ),
    (
        "Horses gallop across a plain.",
        (
            "A herd of wild horses gallops across a dusty plain.",
            "A white horse leads the herd.",
            "The horses cross a shallow river and splash water.",
            "The horses graze on green grass near the river.",
        ),
        (
            "A herd of wild horses thunders across a dusty plain, led by a white one. The animals splash through "
            "a shallow river and then graze on the green grass beside it.",
            "Wild horses run over the plain behind a white leader. They wade through the water before stopping to "
            "eat grass on the bank.",
        ),
    ),
    (
        "A girl plays the piano at home.",
        (
            "A girl with braids sits down at a black piano.",
            "Her fingers move quickly over the keys.",
            "A grey cat jumps onto the piano.",
            "The girl laughs and strokes the cat.",
        ),
        (
            "A girl with braided hair takes a seat at a black piano and her fingers fly over the keys. A grey cat "
            "leaps onto the instrument, and she laughs and pets it.",
            "A child is playing the piano at home when a cat hops up on it. She stops, giggles and strokes the animal.",
        ),
    ),
    (
        "Snow falls in a mountain village.",
        (
            "Snow falls on wooden houses in a mountain village at night.",
            "A man shovels snow in front of a door.",
            "Children build a snowman with a carrot nose.",
            "Lights shine in the windows.",
        ),
        (
            "At night, snow falls on the wooden houses of a mountain village. A man clears it from a doorway with "
            "a shovel, kids build a snowman with a carrot for a nose, and lights glow in the windows.",
            "It is snowing in a village in the mountains. Someone shovels the path to a house while children make "
            "a snowman, and the windows are lit.",
        ),
    ),
    (
        "A boxer trains in a gym.",
        (
            "A boxer wraps his hands with white tape.",
            "He punches a heavy red bag.",
            "He jumps rope in front of a mirror.",
            "His coach pours water over his head.",
        ),
        (
            "A boxer wraps his hands in white tape and then pounds a heavy red bag. Afterwards he skips rope "
            "before a mirror, and his coach pours water over his head.",
            "In the gym, a fighter prepares for training by taping his hands. He hits the punching bag, does some "
            "rope jumping, and at the end is cooled off with water by his trainer.",
        ),
    ),
    (
        "Tourists visit a temple.",
        (
            "Tourists with cameras climb stone steps to a temple.",
            "A monk in an orange robe lights incense.",
            "A woman takes a photo of a golden statue.",
            "The tourists walk through a garden with a pond and red fish.",
        ),
        (
            "Tourists carrying cameras climb the stone steps of a temple, where a monk in an orange robe lights "
            "incense. A woman photographs a golden statue, and the group then strolls through a garden with a "
            "pond full of red fish.",
            "A group of visitors goes up the stairs to a temple. They see a monk lighting incense and take "
            "pictures of a statue before walking around the garden and its pond.",
        ),
    ),
    (
        "A pizza is made in a restaurant.",
        (
            "A cook stretches dough by throwing it into the air.",
            "He spreads tomato sauce and cheese on the dough.",
            "He pushes the pizza into a hot oven with a wooden paddle.",
            "He cuts the pizza into eight slices.",
        ),
        (
            "A cook tosses dough into the air to stretch it, then covers it with tomato sauce and cheese. He "
            "slides the pizza into a hot oven on a wooden paddle and finally cuts it into eight slices.",
            "In a restaurant, a chef prepares a pizza: he stretches the dough, adds sauce and cheese, bakes it in "
            "the oven and slices it into eight pieces.",
        ),
    ),
    (
        "A spider builds a web.",
        (
            "A black spider hangs from a thread between two branches.",
            "It moves in circles and builds a round web.",
            "Drops of dew shine on the web at sunrise.",
            "A fly is caught in the web and the spider runs to it.",
        ),
        (
            "Hanging from a thread between two branches, a black spider circles and builds a round web. At "
            "sunrise dewdrops glisten on it, and when a fly gets caught the spider rushes over.",
            "A spider spins its web among the branches. In the early morning light the web sparkles with dew, and "
            "then an insect is trapped and the spider comes to get it.",
        ),
    ),
)
"""Short caption, captions of frames, summaries."""
