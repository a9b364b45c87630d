"""Clips with which the rules for nouns were checked, not made: subjects, summaries, and nouns to plant into them.

`SEEN` was written before the rules for nouns of November 2026 were looked at; half of it was used while they were
changed, the other half was measured twice and then used too. `UNSEEN` was measured only after these changes, and none
was made for it: do not tune on it. Who has to should write new cases first.

Each subject: # name, S short caption, F captions of frames, C a summary close to them, R a retelling by synonyms and
other syntax, W one in hardly any word of theirs, = siblings and ! unrelated nouns, as "right>wrong".
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A clip with faithful summaries and what may be planted into them."""

    name: str
    short: str
    frames: tuple[str, ...]
    close: str
    retold: str
    very_free: str
    """Empty if there is none."""
    siblings: tuple[tuple[str, str], ...]
    """A noun of the summaries -> another thing of its kind."""
    unrelated: tuple[tuple[str, str], ...]


def with_noun(text: str, old: str, new: str) -> str:
    """Return a text with another noun in the place of one."""
    for form, other in ((old.capitalize(), new.capitalize()), (old, new)):
        text = re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", other, text)
    return text


def _subjects(text: str) -> tuple[Subject, ...]:
    found = []
    for block in re.split(r"^# ", text.strip(), flags=re.MULTILINE)[1:]:
        name, _, rest = block.partition("\n")
        rows: dict[str, list[str]] = {}
        for row in re.sub(r"\n  ", " ", rest).strip().splitlines():
            rows.setdefault(row[0], []).append(row[2:])
        pairs = {key: tuple((old, new) for old, _, new in (one.partition(">") for one in rows[key][0].split("; ")))
                 for key in "=!"}  # fmt: skip
        found.append(
            Subject(
                name=name,
                short=rows["S"][0],
                frames=tuple(rows["F"]),
                close=rows["C"][0],
                retold=rows["R"][0],
                very_free=rows.get("W", [""])[0],
                siblings=pairs["="],
                unrelated=pairs["!"],
            )
        )
    return tuple(found)


SEEN = _subjects(
    """\
# blacksmith
S A blacksmith hammers a glowing horseshoe on an anvil in a dim forge.
F A bearded man in a leather apron stands at an anvil in a dark workshop, with a fire behind him.
F The smith holds a red-hot horseshoe with tongs over the anvil.
F Sparks fly as the hammer hits the glowing iron.
F The horseshoe is plunged into a bucket of water, and steam rises.
C In a dim forge a bearded blacksmith in a leather apron grips a glowing horseshoe with tongs and hammers it on an
  anvil, so that sparks fly. Then he plunges the horseshoe into a bucket of water, and steam rises.
R A bearded smith works at his anvil in a dark workshop with a fire burning behind him. Holding a glowing horseshoe
  with tongs, he strikes it until sparks spray, and at the end cools it in a bucket of water amid rising steam.
W A craftsman with a beard works hot metal beside a fire, striking it again and again amid flying sparks, before he
  cools the piece in a pail and vapor billows up.
= blacksmith>carpenter; horseshoe>dagger; tongs>scissors; anvil>workbench; bucket>barrel
! horseshoe>pumpkin; bucket>piano; apron>helicopter
# nurse
S A nurse takes the blood pressure of an old woman in a hospital bed.
F An elderly woman with white hair lies in a hospital bed next to a window.
F A nurse in blue scrubs wraps a cuff around the patient's arm.
F The nurse squeezes a rubber bulb and looks at the gauge.
F The nurse writes something on a clipboard while the old woman smiles.
F A glass of water and a vase with tulips stand on the bedside table.
C An elderly woman with white hair lies in a hospital bed. A nurse in blue scrubs wraps a cuff around her arm,
  squeezes a rubber bulb and reads the gauge, then writes on a clipboard while the woman smiles. A vase with tulips
  stands on the bedside table.
R By the window of a hospital room, an old lady with white hair rests in bed while a nurse dressed in blue checks her
  blood pressure with a cuff and a gauge. The nurse then makes a note on her clipboard and gets a smile from the
  patient.
W A medical worker checks the blood pressure of a senior lady resting in a clinic ward, pumping up the armband,
  reading the dial and noting the result, as the patient grins. Flowers stand nearby.
= nurse>dentist; cuff>bandage; clipboard>laptop; vase>basket; tulips>roses
! clipboard>shovel; tulips>sausages; gauge>kangaroo
# mail carrier
S A mail carrier puts letters into a mailbox on a suburban street.
F A postal worker with a blue cap and a satchel walks along a sidewalk lined with maple trees.
F The mailman stops at a white mailbox in front of a brick house.
F He slides three letters and a small parcel into the mailbox.
F A terrier barks behind a picket fence as the mail carrier walks away.
C A mail carrier with a blue cap and a satchel walks along a sidewalk lined with maple trees. He stops at a white
  mailbox in front of a brick house and slides in three letters and a small parcel. A terrier barks behind a picket
  fence as he walks away.
R Walking down a tree-lined sidewalk in a blue cap, a mailman carries his satchel to a brick home, where he drops a
  few letters and a package into the white mailbox. A dog barks at him from behind the fence as he goes.
W On a quiet residential road a postman delivers some envelopes and a little package to somebody's home and moves on,
  while a dog yaps at him from the other side of the fence.
= terrier>poodle; satchel>suitcase; letters>newspapers; house>church; maple>palm; cap>scarf
! parcel>octopus; satchel>telescope; terrier>tractor
# barber
S A barber trims a customer's beard with a razor in an old-fashioned shop.
F A man with a towel around his neck leans back in a red leather chair in front of a large mirror.
F The barber spreads white foam on the customer's cheeks with a brush.
F A straight razor glides along the man's jaw.
F The customer looks into the mirror and touches his smooth chin.
C In an old-fashioned shop a man with a towel around his neck leans back in a red leather chair. The barber spreads
  white foam on his cheeks with a brush and draws a straight razor along his jaw. The customer looks into the mirror
  and touches his chin.
R Seated in a red leather chair, a customer with a towel around his neck is shaved: the barber brushes foam onto his
  cheeks and runs a razor along the jaw. Finally the man checks his smooth chin in the mirror.
W A client gets a shave at a vintage salon: lather is applied to his face, a sharp blade passes over his skin, and in
  the end he admires himself in the looking glass.
= barber>tailor; razor>comb; towel>blanket; chair>sofa; mirror>painting; brush>sponge
! razor>carrot; chair>canoe; foam>gravel
# welder
S A welder joins two steel beams on a construction site.
F A worker in a welding mask crouches on a steel beam high above a city.
F Bright blue light flashes from the torch where the two beams meet.
F The welder lifts the mask and inspects the seam.
F A crane swings another beam past in the background.
C A welder in a mask crouches on a steel beam high above a city. Bright blue light flashes from the torch where two
  beams meet. The welder lifts the mask and inspects the seam, while a crane swings another beam past.
R High over the city, a worker with a welding mask squats on a steel beam, and bright light flashes from his torch as
  he joins two beams. He then pushes up the mask to check the seam while a crane moves another beam behind him.
W Far above town, a tradesperson fuses two metal girders with a dazzling flame, then raises the visor to examine the
  joint as a hoist carries more steel by.
= welder>plumber; torch>drill; seam>rivet; mask>scarf; crane>bulldozer; city>harbor
! torch>violin; mask>cake; crane>giraffe
# librarian
S A librarian pushes a cart of books and shelves them in a reading room.
F A woman with glasses and a grey cardigan pushes a wooden cart full of books between tall shelves.
F The librarian climbs a small ladder and places a thick book on the top shelf.
F A student reads under a green lamp at a long table.
F The librarian whispers something to the student and points to the clock on the wall.
C A librarian with glasses and a grey cardigan pushes a cart full of books between tall shelves, climbs a small ladder
  and places a thick book on the top shelf. Then she whispers to a student who reads under a green lamp and points to
  the clock on the wall.
R In a reading room, a woman wearing glasses wheels a cart of books past tall shelves and climbs up a ladder to put
  one away. She later whispers to a student sitting at a table under a green lamp, pointing out the time on the clock.
W Among towering bookcases a bespectacled woman in a sweater wheels volumes along and puts one of them away high up,
  then speaks softly to a young reader at a table, gesturing at the time.
= librarian>waitress; ladder>chair; lamp>umbrella; clock>map; cardigan>raincoat
! ladder>camel; clock>waterfall
# firefighter
S Firefighters spray water from a hose onto a burning barn.
F Flames rise from the roof of a wooden barn at night.
F Two firefighters in yellow helmets drag a hose across the grass.
F A jet of water hits the burning roof, and smoke spreads over the field.
F The fire is out, and the firefighters stand next to a red fire engine.
C At night flames rise from the roof of a wooden barn. Two firefighters in yellow helmets drag a hose across the grass
  and spray a jet of water onto the roof, and smoke spreads over the field. At last the fire is out, and they stand
  next to a red fire engine.
R It is night, and a barn is on fire. Two firemen wearing yellow helmets pull a hose over the grass and aim water at
  the burning roof while smoke drifts over the field. Once the flames are out, they stand by their red fire truck.
W A rescue crew battles a blaze that has seized a farm building after dark. They haul their equipment over the lawn,
  douse the structure, and once the inferno is extinguished they rest by their truck.
= firefighters>soldiers; barn>church; hose>rope; helmets>gloves; grass>sand; water>oil
! hose>piano; barn>ship; helmets>bananas
# ballerina
S A ballerina practices turns in front of a mirror in a studio.
F A young woman in a white tutu stands at a barre in a sunlit studio.
F The dancer raises one leg and rests her hand on the barre.
F The ballerina spins on the tips of her pink shoes before a wide mirror.
F A pianist plays at a black grand piano in the corner.
F She bows to the pianist and picks up a water bottle.
C A ballerina in a white tutu stands at a barre in a sunlit studio and raises one leg. She spins on the tips of her
  pink shoes before a wide mirror, while a pianist plays a black grand piano in the corner. At last she bows and picks
  up a water bottle.
R In a sunny studio with a wide mirror, a young dancer in a white tutu lifts her leg at the barre and then twirls on
  her toes in pink shoes, accompanied by a pianist at a black piano. She ends with a bow and reaches for her bottle.
W To the music of an accompanist, a dancer warms up and twirls on her toes before her own reflection in a bright
  rehearsal room, then she curtsies and takes her drink.
= ballerina>skater; tutu>kimono; pianist>drummer; piano>harp; bottle>mug; mirror>window
! tutu>armor; bottle>snake; shoes>bricks
# hedgehog
S A hedgehog drinks milk from a saucer on a garden path.
F A small hedgehog sniffs at a saucer on a stone path at dusk.
F The hedgehog laps milk from the saucer.
F A black cat watches from a bench under a rose bush.
F The hedgehog curls up into a ball of spines as the cat comes closer.
C At dusk a small hedgehog sniffs at a saucer on a stone path and laps the milk. A black cat watches from a bench
  under a rose bush. As the cat comes closer, the hedgehog curls up into a ball of spines.
R A little hedgehog comes to a saucer on a stone garden path in the evening and drinks the milk, observed by a black
  cat on a bench. When the cat approaches, the animal rolls up into a spiny ball.
W A prickly little animal takes a drink in a backyard as evening falls. When a feline approaches from its seat below
  the roses, the creature rolls itself up.
= hedgehog>squirrel; milk>juice; saucer>bucket; cat>dog; bench>wall; rose>tulip
! hedgehog>train; saucer>guitar; cat>lamp
# camel
S A caravan of camels crosses sand dunes at sunrise.
F Five camels walk in a line over a ridge of orange sand.
F A man in a blue robe leads the first camel by a rope.
F The camels' long shadows fall on the dune.
F The caravan reaches a well between two palm trees, and the camels drink.
C At sunrise five camels walk in a line over a ridge of orange sand, led by a man in a blue robe who holds a rope.
  Their long shadows fall on the dune. The caravan reaches a well between two palm trees, and the camels drink.
R Led on a rope by a man dressed in blue, a line of five camels moves across orange desert dunes as the sun rises,
  casting long shadows. At last they arrive at a well with palm trees and drink there.
W Early in the morning a herder guides a string of pack animals through the desert until they come to a water hole at
  an oasis and quench their thirst.
= camels>horses; sand>snow; rope>stick; well>tent; palm>pine; robe>coat
! camels>buses; rope>sandwich; well>television
# otter
S An otter floats on its back in a river and cracks a shell.
F A brown otter lies on its back in calm water.
F The otter bangs a mussel against a stone on its belly.
F The animal eats the meat from the mussel with both paws.
F A heron lands on a log near the bank, and the otter dives.
C A brown otter lies on its back in a calm river and bangs a mussel against a stone on its belly, then eats the meat
  with both paws. When a heron lands on a log near the bank, the otter dives.
R Floating on its back in calm river water, an otter smashes a mussel on a stone resting on its belly and eats the
  meat. Then a bird, a heron, settles on a log by the bank, and the otter dives out of sight.
W Drifting belly up in the stream, a furry swimmer breaks open its shellfish with a rock and feeds; then a bird
  touches down by the shore, and the mammal vanishes below the surface.
= otter>beaver; mussel>crab; stone>stick; heron>eagle; log>boat
! otter>bicycle; stone>pillow; heron>fridge
# parrot
S A parrot on a perch picks up a nut and speaks to a boy.
F A green parrot sits on a wooden perch in a living room.
F A boy in a striped shirt holds out a walnut on his palm.
F The parrot takes the walnut with its claw and cracks it with its beak.
F The boy laughs and claps as the parrot spreads its wings.
C In a living room a green parrot sits on a wooden perch. A boy in a striped shirt holds out a walnut on his palm. The
  parrot takes it with its claw and cracks it with its beak, then spreads its wings, and the boy laughs and claps.
R A boy wearing a striped shirt offers a walnut to a green parrot perched in a living room. The bird grabs the nut
  with its claw, breaks it with its beak and opens its wings, which makes the child laugh and clap.
W A kid offers a nut to his colorful pet bird, which grabs the snack, breaks it open and flaps, much to the delighted
  child's amusement.
= parrot>owl; boy>girl; walnut>grape; shirt>hat; perch>roof
! parrot>robot; walnut>key; shirt>volcano
# elk
S An elk walks out of a foggy forest and crosses a stream.
F Fog hangs between tall spruces at the edge of a meadow.
F A large elk with wide antlers steps out from the trees.
F The elk wades through a shallow stream.
F A calf follows the elk through the water.
F Both animals graze on the far side of the stream.
C Fog hangs between tall spruces at the edge of a meadow. A large elk with wide antlers steps out from the trees and
  wades through a shallow stream, followed by a calf. Then both animals graze on the far side.
R On the edge of a misty meadow, an elk with wide antlers comes out of the spruce forest and wades across a stream
  with its calf behind it. On the opposite bank the two animals start to graze.
W A big antlered mammal and its young emerge from misty woodland, ford a brook and feed on the grass across the creek.
= elk>bison; stream>road; meadow>beach; spruces>birches; antlers>tusks; calf>lamb
! elk>submarine; stream>carpet; antlers>umbrellas
# tortoise
S A giant tortoise eats lettuce at a zoo while children watch.
F A giant tortoise stretches its wrinkled neck out of its shell.
F A zookeeper in khaki shorts lays a head of lettuce on the ground.
F The tortoise bites into the green leaves.
F Three children lean over a low wall and take pictures with a phone.
C A giant tortoise stretches its wrinkled neck out of its shell. A zookeeper in khaki shorts lays a head of lettuce on
  the ground, and the tortoise bites into the leaves, while three children lean over a low wall and take pictures with
  a phone.
R At the zoo, a huge tortoise stretches out its wrinkled neck to eat the lettuce that a keeper in khaki shorts has put
  on the ground. Three kids lean on the low wall, photographing it with a phone.
W At an animal park, a huge old reptile munches on vegetables brought by a keeper, as a few kids peer over the barrier
  and photograph it.
= tortoise>crocodile; lettuce>melon; children>monks; wall>window; phone>camcorder; zookeeper>policeman
! tortoise>piano; lettuce>hammer; phone>ladder
# goldfish
S A girl feeds a goldfish in a round bowl.
F A goldfish swims around a plastic castle in a round glass bowl.
F A girl with braids opens a small tin beside the bowl.
F She sprinkles flakes onto the water.
F The goldfish rises to the surface and snaps at the flakes.
C A goldfish swims around a plastic castle in a round glass bowl. A girl with braids opens a small tin and sprinkles
  flakes onto the water, and the goldfish rises to the surface and snaps at them.
R In a round glass bowl with a plastic castle, a goldfish is swimming about. A girl with braided hair takes flakes
  from a tin and drops them into the water, and the fish comes up to the surface to eat.
W A child with plaited hair drops food from a can into a tank, where a tiny orange swimmer circles a toy fortress
  before coming up to eat.
= goldfish>turtle; girl>boy; castle>bridge; tin>envelope
! castle>bus; tin>tree; goldfish>candle
# sheepdog
S A sheepdog drives a flock of sheep into a pen.
F A flock of sheep grazes on a green hillside under a cloudy sky.
F A black-and-white collie runs in a wide arc around the flock.
F The shepherd whistles and lifts a wooden staff.
F The sheep crowd through the gate of a pen, and the dog lies down in the grass.
C A flock of sheep grazes on a green hillside under a cloudy sky. A black-and-white sheepdog runs in a wide arc around
  the flock, and the shepherd whistles and lifts a wooden staff. The sheep crowd through the gate of a pen, and the
  dog lies down in the grass.
R Sheep are grazing on a green hill under clouds when a black-and-white dog circles around the flock. At the whistle
  of the shepherd, who raises his staff, the animals press through a gate into their pen, and the collie lies down on
  the grass.
W Following its master's signals, a herding dog rounds up livestock on a slope and chases the woolly animals into an
  enclosure, then rests on the ground.
= sheep>cows; sheepdog>wolf; staff>flag; pen>barn; shepherd>hunter; hillside>shore
! sheep>cars; staff>trombone; gate>shoe
# tram
S A yellow tram climbs a steep street between old houses.
F A yellow tram with open windows rattles up a steep cobbled street.
F Laundry hangs from balconies on both sides.
F The tram stops, and an old man with a cane steps off.
F The driver rings the bell and the tram turns the corner past a bakery.
C A yellow tram with open windows rattles up a steep cobbled street between old houses with laundry on the balconies.
  It stops, and an old man with a cane steps off. The driver rings the bell, and the tram turns the corner past a
  bakery.
R A yellow tram with its windows open climbs a steep cobblestone street past houses with laundry on their balconies.
  An elderly man holding a cane gets off at a stop, then the bell rings and the tram goes around the corner by a
  bakery.
W A vintage streetcar labors uphill through a historic quarter where washing dries outside; an elderly passenger gets
  out with his walking stick, and the vehicle rolls on around a bend, past a shop.
= tram>truck; balconies>roofs; cane>guitar; bell>horn; bakery>pharmacy
! tram>whale; cane>lobster; bell>cactus
# forklift
S A forklift loads pallets onto a truck at a warehouse.
F An orange forklift carries a pallet of cardboard boxes across a concrete floor.
F A worker in a safety vest waves the driver forward.
F The forklift raises the pallet and slides it into a white truck.
F The worker closes the doors of the truck and signs a form.
C An orange forklift carries a pallet of cardboard boxes across a warehouse. A worker in a safety vest waves the
  driver forward, and the forklift raises the pallet and slides it into a white truck. Then the worker closes the
  doors and signs a form.
R Guided by a worker wearing a safety vest, a forklift transports a pallet of cardboard boxes through a warehouse and
  lifts it into a white truck. The man shuts the truck's doors and puts his signature on a form.
W At a depot, a lifting machine hoists a stack of cartons into a lorry under the direction of an employee, who finally
  shuts the vehicle and fills in some paperwork.
= forklift>tractor; boxes>bottles; truck>train; vest>tie; doors>windows
! boxes>penguins; truck>swimming pool; vest>crown
# sailboat
S A sailboat glides past a lighthouse in a strong wind.
F A white sailboat leans over in choppy water.
F Two sailors in red jackets pull on a rope.
F The boat passes a striped lighthouse on a rocky island.
F Gulls circle over the mast as the boat heads for the harbor.
C A white sailboat leans over in choppy water in a strong wind, and two sailors in red jackets pull on a rope. The
  boat passes a striped lighthouse on a rocky island. Gulls circle over the mast as it heads for the harbor.
R In strong wind and choppy seas, a white sailing boat tilts to one side while two crew members in red jackets haul on
  a rope. It sails past an island with a striped lighthouse and then toward the harbor, with seagulls circling
  overhead.
W A yacht heels in a stiff breeze while its crew hauls at the line. The vessel sails by a beacon tower standing on the
  rocks and makes for port with seabirds overhead.
= sailboat>ferry; lighthouse>castle; jackets>trousers; rope>anchor; gulls>bats; sailors>tourists
! lighthouse>elephant; rope>spaghetti; gulls>violins
# bulldozer
S A bulldozer pushes rubble away from a demolished building.
F A yellow bulldozer stands in front of a heap of bricks and broken concrete.
F The machine pushes the rubble toward a dump truck, and dust rises.
F A foreman in a white helmet shouts into a radio.
F An excavator lifts the rubble into the dump truck.
C A yellow bulldozer pushes bricks and broken concrete of a demolished building toward a dump truck, and dust rises. A
  foreman in a white helmet shouts into a radio, and an excavator lifts the rubble into the truck.
R At the site of a demolished building, a yellow bulldozer moves heaps of brick and concrete rubble, raising dust. A
  foreman wearing a white helmet yells into his radio, and an excavator loads the debris onto a dump truck.
W Heavy equipment clears the debris of a torn-down structure. As a supervisor gives orders over his walkie-talkie, a
  digger loads the remains for removal.
= bulldozer>tank; bricks>logs; helmet>scarf; radio>mirror; foreman>fisherman
! bulldozer>snail; radio>sandwich; helmet>fountain
# hot-air balloon
S A hot-air balloon rises over vineyards in the morning.
F A crew spreads a rainbow-colored balloon on a meadow.
F A burner shoots a flame into the balloon, and it swells.
F Four passengers climb into the wicker basket.
F The balloon floats above rows of vines, and its shadow crosses a chapel.
C In the morning a crew spreads a rainbow-colored balloon on a meadow, and a burner shoots a flame into it. Four
  passengers climb into the wicker basket. The balloon floats above rows of vines, and its shadow crosses a chapel.
R A colorful balloon is laid out on a meadow by its crew and inflated with a burner. After four people get into the
  basket, it rises and drifts above vineyards in the morning, its shadow passing over a chapel.
W A team prepares a multicolored aircraft on the grass and fills it with heated air; a handful of travelers get on
  board, and it drifts over the grape fields and a little church.
= balloon>glider; basket>hammock; vines>sunflowers; chapel>windmill; passengers>dogs
! chapel>crocodile; basket>piano; flame>feather
# motorcycle
S A motorcyclist fixes a motorcycle in a garage and rides off.
F A man with tattooed arms kneels beside a black motorcycle in a garage.
F He tightens a bolt with a wrench.
F The man wipes his hands with a rag and puts on a helmet.
F The motorcycle rolls out of the garage into the rain.
C In a garage a man with tattooed arms kneels beside a black motorcycle and tightens a bolt with a wrench. He wipes
  his hands with a rag, puts on a helmet, and the motorcycle rolls out into the rain.
R Kneeling next to his black motorcycle in the garage, a tattooed man uses a wrench to tighten a bolt. After cleaning
  his hands with a rag he puts on his helmet and rides out into the rain.
W A biker repairs his machine indoors with a tool, cleans his fingers on a cloth, and then drives away in wet weather,
  protected by his headgear.
= motorcycle>tractor; wrench>hammer; rag>newspaper; helmet>glove; rain>snow; garage>kitchen
! wrench>banana; motorcycle>horse; rag>balloon
# canoe
S Two girls paddle a canoe across a lake to a cabin.
F A green canoe lies on a pebble shore next to two paddles.
F Two girls in life jackets push the canoe into the water.
F They paddle past water lilies and a family of ducks.
F The canoe reaches a jetty in front of a log cabin with a smoking chimney.
C A green canoe lies on a pebble shore. Two girls in life jackets push it into the water and paddle past water lilies
  and a family of ducks. The canoe reaches a jetty in front of a log cabin with a smoking chimney.
R Two girls wearing life jackets launch a green canoe from a pebble beach and paddle over the lake, passing water
  lilies and ducks, until they arrive at the jetty of a log cabin whose chimney is smoking.
W Two young people launch their small boat from the stony bank of a lake, row by some birds among the floating
  flowers, and land at a dock below a wooden hut with smoke above its roof.
= canoe>raft; ducks>frogs; cabin>tent; jetty>bridge; girls>nuns; chimney>antenna
! ducks>computers; cabin>airplane; jetty>bed
# snowplow
S A snowplow clears a mountain road after a storm.
F Deep snow covers a winding mountain road lined with poles.
F An orange snowplow throws snow to the side.
F A line of cars waits behind a barrier.
F A policeman lifts the barrier and the cars follow the snowplow toward the pass.
C Deep snow covers a winding mountain road lined with poles. An orange snowplow throws the snow to the side, while a
  line of cars waits behind a barrier. A policeman lifts the barrier, and the cars follow the snowplow toward the
  pass.
R After a snowstorm, an orange plow clears a winding road in the mountains, throwing snow aside. Cars are waiting in a
  line behind a barrier until a police officer raises it, and then they drive after the plow toward the pass.
W After a blizzard, a machine clears an alpine highway while traffic is held up; then an officer opens the way and the
  vehicles drive on behind it.
= snowplow>ambulance; snow>mud; cars>bicycles; policeman>priest; poles>statues
! snow>spinach; cars>cows; barrier>sofa
# accordion
S A street musician plays the accordion on a bridge.
F A man in a flat cap sits on a folding stool on an old stone bridge.
F He squeezes a red accordion and taps his foot.
F A woman with a stroller drops a coin into the open case.
F A couple starts to dance in front of the musician.
C A man in a flat cap sits on a folding stool on an old stone bridge and plays a red accordion. A woman with a
  stroller drops a coin into the open case, and a couple starts to dance in front of the musician.
R On an old stone bridge, a street musician wearing a flat cap plays a red accordion while sitting on a stool and
  tapping his foot. A woman pushing a stroller gives him a coin, and two people begin dancing to his music.
W A busker performs on a squeezebox outdoors; a mother pushing a pram gives him some money, and two others begin to
  dance.
= accordion>saxophone; bridge>stage; coin>flower; stool>barrel; stroller>bicycle; cap>hood
! accordion>refrigerator; coin>whale; stool>airplane
# cello
S A woman plays the cello in an empty concert hall.
F A woman in a long black dress walks onto an empty stage carrying a cello.
F She sits down on a chair and tightens her bow.
F The cellist plays with her eyes closed.
F Rows of red seats are empty under a huge chandelier.
F She stands up and leaves the cello leaning on the chair.
C A woman in a long black dress carries a cello onto the stage of an empty concert hall, sits down on a chair,
  tightens her bow and plays with her eyes closed before rows of red seats under a huge chandelier. At last she leaves
  the cello leaning on the chair.
R A cellist in a long black gown walks on stage in an empty hall with red seats and a giant chandelier. She takes a
  seat, tightens the bow and plays with closed eyes, and in the end leaves her instrument against the chair.
W Dressed in a dark gown, a musician performs alone on her string instrument in a vacant auditorium, her eyes shut,
  and afterwards gets up and leaves it by her seat.
= cello>violin; dress>suit; chair>bench; chandelier>mirror; stage>balcony
! cello>shark; chandelier>cactus; dress>tree
# drums
S A teenager plays the drums in a garage while a friend plays guitar.
F A boy with long hair sits behind a drum kit in a garage.
F He twirls a drumstick and hits the cymbal.
F A girl in ripped jeans plays a red electric guitar next to him.
F A neighbor looks over the hedge and covers his ears.
C In a garage a boy with long hair sits behind a drum kit, twirls a drumstick and hits the cymbal, while a girl in
  ripped jeans plays a red electric guitar next to him. A neighbor looks over the hedge and covers his ears.
R Two teens make music in a garage: a long-haired boy plays the drum kit, spinning a drumstick and hitting the cymbal,
  and a girl wearing ripped jeans plays an electric guitar. A neighbor peeks over the hedge with his hands on his
  ears.
W Two youngsters rehearse as a band at home: one does the percussion, the other strums. The man next door peeks across
  the bushes, holding his hands over his ears because of the noise.
= guitar>trumpet; jeans>shorts; cymbal>gong; hedge>fence; garage>attic; neighbor>teacher
! guitar>broom; cymbal>potato; hedge>ocean
# harp
S A harpist plays at a wedding under an arch of roses.
F A woman in a silver gown tunes a golden harp on a lawn.
F Her fingers pluck the strings of the harp.
F The bride and the groom walk down an aisle of white chairs.
F The couple stands under an arch of roses, and guests throw petals.
C A woman in a silver gown tunes a golden harp on a lawn and plucks its strings. The bride and the groom walk down an
  aisle of white chairs and stand under an arch of roses, and guests throw petals.
R On a lawn, a harpist wearing a silver dress tunes her golden harp and begins to play. The bride and groom come down
  the aisle between white chairs to an arch of roses, where petals are thrown by the guests.
W At an outdoor marriage ceremony, music from a stringed instrument accompanies the newlyweds as they proceed between
  the seats to a flowery gateway, where their friends shower them with blossoms.
= harp>flute; gown>raincoat; roses>ivy; chairs>tables; petals>coins; lawn>beach
! harp>bathtub; petals>snakes; chairs>cannons
# sushi
S A chef prepares sushi rolls behind a counter.
F A chef in a white jacket slices raw salmon with a long knife.
F He spreads rice on a sheet of seaweed over a bamboo mat.
F The chef rolls the mat and cuts the roll into eight pieces.
F A customer picks up a piece with chopsticks and dips it in soy sauce.
C Behind a counter a chef in a white jacket slices raw salmon with a long knife, spreads rice on a sheet of seaweed
  over a bamboo mat, rolls it and cuts the roll into eight pieces. A customer picks up a piece with chopsticks and
  dips it in soy sauce.
R A sushi chef wearing white cuts raw salmon, covers a sheet of seaweed with rice, rolls everything up in a bamboo mat
  and slices the roll into eight. At the counter a guest takes one piece with chopsticks and dips it into soy sauce.
W A Japanese cook fillets fish, wraps it with grains in algae and divides the result into bite-sized portions; then a
  diner tastes one after dunking it in a condiment.
= salmon>tuna; rice>pasta; chopsticks>fork; chef>butcher; knife>saw; seaweed>paper
! salmon>brick; chopsticks>skis; rice>sand
# pizza
S A pizza is baked in a wood-fired oven.
F A baker tosses a disc of dough in the air in an open kitchen.
F He spreads tomato sauce and lays slices of mozzarella on the dough.
F The pizza slides into the oven on a long wooden peel, with flames behind it.
F A waitress carries the steaming pizza to a table with a checkered cloth.
C A baker tosses a disc of dough in the air, spreads tomato sauce and lays slices of mozzarella on it. The pizza
  slides into the oven on a long wooden peel, and then a waitress carries it steaming to a table with a checkered
  cloth.
R In an open kitchen, a baker throws pizza dough into the air and tops it with tomato sauce and mozzarella before it
  goes into a wood-fired oven with flames. The finished pizza, still steaming, is brought to a table by a waitress.
W In an eatery, a cook flips and tops a flat dough with red sauce and cheese, puts it into the fire, and a server
  brings the hot meal to the guests.
= pizza>pancake; mozzarella>ham; oven>fridge; tomato>mushroom; waitress>nurse
! pizza>tire; mozzarella>pebbles; table>boat
# espresso
S A barista makes an espresso with milk foam and draws a heart.
F A barista with a nose ring grinds coffee beans behind a bar.
F Espresso drips from the machine into a small cup.
F She pours steamed milk from a metal jug into the cup.
F A heart of foam appears on the coffee, and the cup is put on a tray next to a croissant.
C A barista with a nose ring grinds coffee beans behind a bar, and espresso drips from the machine into a small cup.
  She pours steamed milk from a metal jug, so that a heart of foam appears, and puts the cup on a tray next to a
  croissant.
R Behind the bar, a barista wearing a nose ring grinds coffee and brews an espresso into a small cup, then adds
  steamed milk so that a heart shape forms in the foam. The cup is placed on a tray beside a croissant.
W At a café a young woman brews a hot drink, decorates its froth with a symbol of love, and serves it with a pastry.
= croissant>pretzel; jug>spoon; heart>star; tray>book; barista>chemist; milk>syrup
! croissant>hammer; tray>bicycle; beans>nails
# jam
S A grandmother cooks strawberry jam with her grandson.
F An old woman with a flowered apron washes strawberries in a sink.
F A little boy stirs the red fruit in a copper pot with a wooden spoon.
F Jam bubbles in the pot on the stove.
F The grandmother fills the jam into jars, and the boy sticks on labels.
C An old woman with a flowered apron washes strawberries in a sink, and a little boy stirs the red fruit in a copper
  pot with a wooden spoon. Jam bubbles on the stove. Then the grandmother fills it into jars, and the boy sticks on
  labels.
R A grandmother and a small boy make strawberry jam: she rinses the strawberries in the sink wearing a flowered apron,
  he stirs the fruit in a copper pot with a spoon until it bubbles, and finally they fill jars and label them.
W A senior and her small helper rinse berries, boil them to a sweet spread in a kettle, pour it into glass containers
  and mark each of them.
= strawberries>cherries; pot>pan; spoon>whisk; jars>bags; sink>bathtub; labels>ribbons
! strawberries>snails; spoon>sword; stove>camel
# birdhouse
S A man builds a birdhouse in his backyard.
F A man with rolled-up sleeves saws a plank on a workbench under an awning.
F He hammers nails into the small roof of a birdhouse.
F The man paints the birdhouse green with a brush.
F He climbs a ladder and hangs the birdhouse on a cherry tree.
F A sparrow lands on the roof of the birdhouse.
C A man with rolled-up sleeves saws a plank on a workbench, hammers nails into the roof of a birdhouse and paints it
  green with a brush. He climbs a ladder and hangs the birdhouse on a cherry tree, and a sparrow lands on its roof.
R A man with his sleeves rolled up cuts a board on a workbench and builds a wooden birdhouse, which he paints green.
  Using a ladder he hangs it in a cherry tree, and before long a small bird, a sparrow, sits on its roof.
W Working in the garden, a handyman cuts wood, assembles a home for birds, colors it, fixes it high up in a tree, and
  soon its first tiny visitor arrives.
= birdhouse>mailbox; sparrow>owl; cherry>oak; ladder>chair; plank>pipe; brush>sponge
! sparrow>elephant; plank>cake; ladder>river
# chainsaw
S A lumberjack fells a tree with a chainsaw.
F A lumberjack in orange trousers stands next to a tall pine in a snowy forest.
F He starts a chainsaw, and sawdust sprays from the trunk.
F The pine leans and crashes into the snow.
F The lumberjack sits on the stump and drinks tea from a thermos.
C In a snowy forest a lumberjack in orange trousers starts a chainsaw, and sawdust sprays from the trunk of a tall
  pine. The pine leans and crashes into the snow. Then the lumberjack sits on the stump and drinks tea from a thermos.
R In a forest covered with snow, a logger wearing orange pants cuts a tall pine with his chainsaw, sending sawdust
  flying, until the tree crashes down. Afterward he rests on the stump with a cup of tea from his thermos.
W In the winter woods a logger cuts down a conifer with a noisy power tool and, once the giant has fallen, takes a
  seat on what is left of it for a hot drink.
= lumberjack>hunter; chainsaw>axe; pine>birch; tea>beer; trousers>gloves; snow>mud
! chainsaw>trumpet; tea>gasoline; pine>rocket
# sewing machine
S A tailor sews a jacket on a sewing machine.
F A bald tailor marks a piece of grey cloth with chalk.
F He cuts the cloth with large scissors.
F The tailor guides the cloth under the needle of an old sewing machine.
F A customer tries on the jacket, and the tailor pins up one sleeve.
C A bald tailor marks a piece of grey cloth with chalk and cuts it with large scissors. He guides the cloth under the
  needle of an old sewing machine. Then a customer tries on the jacket, and the tailor pins up one sleeve.
R A bald tailor draws on grey fabric with chalk, cuts it with big scissors and stitches it together on an old sewing
  machine. In the final part a customer puts on the jacket while the tailor pins its sleeve.
W A craftsman without hair prepares some fabric, stitches it together by machine and makes the last adjustments while
  the client wears the new garment.
= jacket>skirt; scissors>knife; chalk>pencil; tailor>baker; sleeve>collar; cloth>leather
! scissors>cucumber; jacket>trumpet; chalk>frog
# telescope
S An astronomer points a telescope at the moon.
F A dome on a hilltop opens under a starry sky.
F A woman in a parka turns a brass wheel beside a long white telescope.
F She puts her eye to the telescope, and the full moon hangs above the dome.
F The astronomer draws a crater in a notebook by the light of a headlamp.
C A dome on a hilltop opens under a starry sky. A woman in a parka turns a brass wheel beside a long white telescope,
  puts her eye to it, and the full moon hangs above the dome. Then she draws a crater in a notebook by the light of a
  headlamp.
R On a hilltop under the stars, the dome of an observatory opens. A woman wearing a parka adjusts a large white
  telescope with a brass wheel, watches the full moon through it and sketches a crater in her notebook, lit by her
  headlamp.
W At night a scientist at an observatory adjusts her instrument to look at the lunar disc and sketches what she sees
  on paper.
= telescope>microscope; moon>sun; parka>dress; notebook>newspaper; headlamp>candle; wheel>pedal
! telescope>horse; notebook>pizza; parka>bathtub
# snowman
S Two children build a snowman in front of a farmhouse.
F A girl in a purple coat rolls a large ball of snow across a yard.
F A boy with a shovel piles up snow in front of a farmhouse.
F The children stack three balls and stick a carrot into the top one.
F The girl ties a scarf around the neck of the snowman, and a puppy jumps around it.
C A girl in a purple coat rolls a large ball of snow across the yard of a farmhouse, and a boy with a shovel piles up
  snow. They stack three balls and stick a carrot into the top one. The girl ties a scarf around the neck of the
  snowman, and a puppy jumps around it.
R Outside a farmhouse, two children make a snowman, the girl in a purple coat rolling a big snowball and the boy using
  a shovel. They pile up three balls, add a carrot as a nose and a scarf, and a puppy hops around.
W On a winter's day two kids put up a frosty figure outside a rural home, give it a vegetable for a nose and a piece
  of warm clothing, while their young dog leaps about.
= carrot>potato; shovel>rake; scarf>belt; puppy>kitten; coat>cape; snowman>castle
! carrot>spider; shovel>guitar; puppy>submarine
# surfing
S A surfer rides a big wave and falls off the board.
F A surfer in a black wetsuit paddles out on a white board.
F The surfer stands up as a tall blue wave rises behind.
F The wave curls over the surfer, and spray flies.
F The board shoots into the air and the surfer disappears in the foam.
F The surfer walks up the beach with the board under one arm, past a lifeguard tower.
C A surfer in a black wetsuit paddles out on a white board and stands up as a tall blue wave rises behind. The wave
  curls over, the board shoots into the air and the surfer disappears in the foam. Then the surfer walks up the beach
  past a lifeguard tower with the board under one arm.
R On a white surfboard, a surfer wearing a black wetsuit paddles out and rides a tall wave until it breaks, the board
  flies up and the person vanishes in the foam. Later the surfer carries the board up the beach past the lifeguard
  tower.
W An athlete catches a huge breaker in the ocean, is swallowed by the crashing water, and in the end comes ashore
  carrying the equipment by the watch post.
= surfer>skier; wetsuit>tuxedo; wave>avalanche; beach>road; tower>tent; board>skateboard
! board>sofa; beach>kitchen; wetsuit>armor
# fencing
S Two fencers duel in a sports hall.
F Two fencers in white suits and masks salute each other with their foils.
F The left fencer lunges, and the blade bends on the opponent's chest.
F A green lamp lights up, and the referee raises a hand.
F The fencers take off their masks and shake hands while the audience applauds.
C In a sports hall two fencers in white suits and masks salute each other with their foils. The left one lunges, and
  the blade bends on the opponent's chest. A green lamp lights up, and the referee raises a hand. The fencers take off
  their masks and shake hands while the audience applauds.
R Wearing white suits and masks, two fencers greet each other with their foils before a duel. One attacks and hits the
  chest of the opponent, so a green lamp goes on and the referee lifts a hand; finally they shake hands to applause.
W Two competitors with protective gear over their faces cross swords in a gym; one scores a hit, the judge signals it,
  and they part as friends to the cheers of the crowd.
= fencers>boxers; foils>rackets; lamp>flag; masks>gloves; referee>waiter; suits>kimonos
! foils>baguettes; lamp>pumpkin; masks>televisions
# basketball
S A girl scores in a basketball game.
F A girl in a yellow jersey dribbles a basketball across a gym.
F She jumps past a defender in a black jersey.
F The basketball drops through the hoop.
F Her coach throws a towel in the air, and her teammates hug her.
C In a gym a girl in a yellow jersey dribbles a basketball, jumps past a defender in a black jersey, and the ball
  drops through the hoop. Her coach throws a towel in the air, and her teammates hug her.
R A girl wearing a yellow jersey dribbles the ball across the gym, leaps past an opponent in black and scores through
  the hoop. Her coach tosses a towel up in joy as her teammates embrace her.
W A young player in yellow outplays her opponent and sinks a shot; her trainer celebrates, and the rest of the team
  embraces her.
= basketball>football; towel>bottle; hoop>window; jersey>apron; coach>mother
! towel>goat; basketball>watermelon; hoop>volcano
# archery
S An archer hits the target in a clearing.
F A woman with a leather glove takes an arrow from her quiver in a forest clearing.
F She draws a wooden bow and closes one eye.
F The arrow flies toward a round straw target.
F The arrow is stuck in the yellow center, and the archer lowers the bow.
C In a forest clearing an archer with a leather glove takes an arrow from her quiver, draws a wooden bow and closes
  one eye. The arrow flies toward a round straw target and sticks in its yellow center, and she lowers the bow.
R Standing in a clearing in the woods, a woman wearing a leather glove pulls an arrow from the quiver, aims with her
  wooden bow and shoots. It hits the yellow center of the round target, and the archer lets the bow sink.
W In the woods a sportswoman aims her weapon carefully, lets fly, and hits the bull's-eye.
= bow>rifle; arrow>spear; archer>golfer; quiver>pocket; glove>boot; target>balloon
! arrow>umbrella; bow>laptop; target>cow
# skating
S An old couple skates on a frozen canal.
F An old man in a fur hat tightens the laces of his skates on a bench.
F A grey-haired woman in a long coat takes his hand on the ice.
F The couple glides along a frozen canal under a drawbridge.
F They stop at a stall and drink hot chocolate.
C An old man in a fur hat tightens the laces of his skates on a bench. A grey-haired woman in a long coat takes his
  hand, and the couple glides along a frozen canal under a drawbridge. They stop at a stall and drink hot chocolate.
R On a bench, an elderly man with a fur hat laces up his skates. Hand in hand with a grey-haired lady he skates along
  a frozen canal and under a drawbridge, and then the two have hot chocolate at a stall.
W Two seniors, husband and wife, go for a spin over the ice, passing below a bridge, and warm themselves with a cocoa
  at a kiosk.
= skates>skis; hat>helmet; canal>lake; chocolate>soup; bench>rock; drawbridge>tunnel
! skates>lions; stall>submarine; hat>cake
# climbing
S A climber scales a rock face and reaches a ledge.
F A climber with a red rope hangs on a vertical cliff.
F She dips her hand into a bag of chalk and reaches for a crack.
F An eagle glides past the rock face.
F The climber pulls herself onto a ledge and waves at a man below.
C A climber with a red rope hangs on a vertical cliff, dips her hand into a bag of chalk and reaches for a crack,
  while an eagle glides past. She pulls herself onto a ledge and waves at a man below.
R Hanging from a red rope on a steep cliff, a woman climbing the rock chalks her hand and grabs a crack as an eagle
  soars by. Eventually she gets up on a ledge and waves to a man down below.
W A mountaineer works her way up a steep wall of stone as a large bird soars by, gets onto a narrow shelf, and greets
  her companion on the ground.
= rope>chain; eagle>parrot; chalk>flour; cliff>ladder; climber>sailor; man>boy
! eagle>tractor; rope>sausage; ledge>sofa
# chess
S Two old men play chess in a park.
F Two old men sit at a stone table in a park with a chessboard between them.
F One man with a pipe moves a white knight.
F The other man scratches his head and takes a sip of coffee from a paper cup.
F Pigeons gather around the table, and a girl with a lollipop watches the game.
F The man with the pipe smiles as his opponent tips over the king.
C Two old men sit at a stone table in a park and play chess. One with a pipe moves a white knight, and the other
  scratches his head and sips coffee from a paper cup. Pigeons gather around the table, and a girl with a lollipop
  watches. At last the man with the pipe smiles as his opponent tips over the king.
R In a park, two elderly men play chess at a stone table surrounded by pigeons. One smokes a pipe and moves his
  knight, the other sips coffee from a paper cup, and a girl with a lollipop looks on until the game ends with a
  fallen king.
W Outdoors, two elderly players face each other over a board game with birds at their feet and a child looking on,
  until one of them, enjoying his smoke, wins and the other gives up.
= knight>bishop; pipe>cigar; coffee>wine; pigeons>chickens; lollipop>balloon; girl>boy
! pipe>saw; pigeons>forks; lollipop>car
# volcano
S A volcano erupts behind a village at night.
F A dark cone-shaped volcano stands behind the lights of a village.
F Red lava bursts from the crater, and ash rises.
F Lava flows down the slope toward a vineyard.
F People with suitcases run to a bus.
C At night a dark cone-shaped volcano stands behind a village. Red lava bursts from the crater, ash rises, and the
  lava flows down the slope toward a vineyard. People with suitcases run to a bus.
R Behind a village at night, a cone-shaped volcano erupts: red lava shoots out of its crater, ash goes up, and the
  glowing stream runs downhill toward a vineyard. Villagers carrying suitcases hurry to a bus.
W A mountain spits molten rock and smoke above a settlement in the dark; as the glowing stream approaches the
  grapevines, residents flee with their luggage to a waiting vehicle.
= volcano>glacier; lava>water; suitcases>umbrellas; bus>train; vineyard>cornfield
! lava>milk; bus>piano; suitcases>penguins
# waterfall
S A hiker stands at a waterfall in a jungle.
F A waterfall drops into a green pool surrounded by ferns.
F A hiker with a blue backpack crosses a suspension bridge.
F The hiker fills a bottle at the edge of the pool.
F A monkey snatches the hiker's hat from a rock.
C A waterfall drops into a green pool surrounded by ferns. A hiker with a blue backpack crosses a suspension bridge
  and fills a bottle at the edge of the pool, and a monkey snatches the hat from a rock.
R In the jungle, a hiker with a blue backpack walks over a suspension bridge near a waterfall that plunges into a
  green pool among ferns. While the hiker is filling a bottle, a monkey steals the hat lying on a rock.
W Deep in the rainforest, a trekker walks over a hanging footbridge to cascading water and collects some of it in a
  flask, while a cheeky primate steals his headgear.
= waterfall>geyser; ferns>cacti; backpack>handbag; monkey>raccoon; hat>shoe
! monkey>printer; backpack>sofa; bottle>spider
# sunflowers
S A farmer walks through a field of sunflowers before a thunderstorm.
F Rows of sunflowers sway under dark clouds.
F A farmer in overalls walks between the sunflowers with a straw hat in his hand.
F Lightning strikes behind a silo on the horizon.
F Rain pours down, and the farmer runs to a pickup truck.
C Rows of sunflowers sway under dark clouds, and a farmer in overalls walks between them with a straw hat in his hand.
  Lightning strikes behind a silo on the horizon. Rain pours down, and the farmer runs to a pickup truck.
R Dark clouds hang over a sunflower field where a farmer in overalls walks with his straw hat in hand. A flash of
  lightning strikes near a silo, rain starts to fall, and the man runs for his pickup.
W Under a threatening sky, a countryman strolls among tall yellow flowers; a bolt flashes beyond a storage tower, and
  as the downpour begins he hurries to his vehicle.
= sunflowers>tulips; farmer>fisherman; silo>windmill; truck>motorcycle; overalls>pajamas; rain>hail
! silo>whale; truck>bed; overalls>feathers
# coral reef
S A diver explores a coral reef and meets a sea turtle.
F A diver with yellow fins sinks along a wall of coral.
F Clownfish hide in an anemone.
F A sea turtle swims past with slow strokes.
F The diver points a camera at the turtle, and bubbles rise to the surface.
C A diver with yellow fins sinks along a wall of coral, where clownfish hide in an anemone. A sea turtle swims past
  with slow strokes, and the diver points a camera at it while bubbles rise to the surface.
R A scuba diver with yellow fins descends beside a coral wall where clownfish hide in an anemone. When a sea turtle
  glides by, the diver takes out a camera to photograph it, and bubbles float upward.
W Underwater, a swimmer with flippers and an air supply comes upon small striped fish and a large marine reptile and
  takes its picture.
= turtle>shark; clownfish>eels; fins>gloves; camera>lamp; coral>ice; anemone>cave
! turtle>bicycle; fins>roller skates; clownfish>chickens
# fox
S A fox crosses a frozen pond in the snow.
F Snow falls on a frozen pond surrounded by reeds.
F A red fox steps onto the ice and sniffs.
F The fox jumps and dives into a snowdrift.
F It comes out with a mouse in its jaws and trots toward an old mill.
C Snow falls on a frozen pond surrounded by reeds. A red fox steps onto the ice and sniffs, then jumps and dives into
  a snowdrift. It comes out with a mouse in its jaws and trots toward an old mill.
R During snowfall, a red fox walks onto a frozen pond with reeds around it and sniffs the ice. It leaps headfirst into
  the snow, catches a mouse and carries it in its mouth to an old mill.
W On a wintry day a wild canine ventures over the icy water, pounces headfirst into the deep powder and carries off a
  rodent.
= fox>lynx; mouse>rabbit; mill>church; reeds>birches; pond>river
! fox>vacuum cleaner; mouse>bottle; mill>ship
# lighthouse keeper
S A lighthouse keeper lights the lamp of a lighthouse during a storm.
F Waves crash against the foot of a red lighthouse.
F An old man with a lantern climbs a spiral staircase.
F The keeper polishes the lens and lights the lamp.
F The beam sweeps over a fishing boat on the stormy sea.
C Waves crash against the foot of a red lighthouse. An old man with a lantern climbs a spiral staircase, polishes the
  lens and lights the lamp. The beam sweeps over a fishing boat on the stormy sea.
R As a storm drives waves against a red lighthouse, its old keeper goes up the spiral stairs with a lantern, cleans
  the lens and turns on the lamp, whose beam passes over a fishing boat out at sea.
W In rough weather the elderly guardian of a coastal tower goes up the steps, cleans the glass and switches on the
  signal, which guides a small vessel on the wild ocean.
= staircase>ladder; lantern>broom; lens>window; boat>submarine; lighthouse>windmill; sea>desert
! lantern>chicken; staircase>banana; lens>shoe
# castle
S Tourists visit a ruined castle on a hill.
F A ruined castle with a round tower stands on a rocky hill.
F A guide with a yellow flag leads tourists over a drawbridge.
F The tourists look at a rusty cannon in the courtyard.
F A girl in a raincoat climbs onto the wall and looks at the valley through binoculars.
C A guide with a yellow flag leads tourists over a drawbridge into a ruined castle with a round tower on a rocky hill.
  They look at a rusty cannon in the courtyard. A girl in a raincoat climbs onto the wall and looks at the valley
  through binoculars.
R A tour guide carrying a yellow flag takes visitors across the drawbridge of a castle ruin on a hill, where they
  examine an old rusty cannon in the courtyard. A girl wearing a raincoat climbs the wall to view the valley with
  binoculars.
W A tour group is led into the remains of an old fortress, where the visitors inspect an ancient gun; a youngster
  enjoys the view over the land below.
= castle>temple; cannon>bell; flag>umbrella; raincoat>swimsuit; guide>soldier; binoculars>camera
! cannon>cake; flag>fish; drawbridge>carpet
# windmill
S A miller grinds flour in a windmill.
F The four sails of a windmill turn above a field of tulips.
F A miller with a dusty face pours grain from a sack into a funnel.
F Millstones turn, and flour trickles into a wooden trough.
F A boy ties up the full sacks and loads them onto a donkey cart.
C The sails of a windmill turn above a field of tulips. A miller with a dusty face pours grain from a sack into a
  funnel, millstones turn, and flour trickles into a wooden trough. A boy ties up the full sacks and loads them onto a
  donkey cart.
R A windmill turns over a tulip field. Inside, the dusty miller empties a sack of grain into a funnel, the millstones
  grind it, and flour runs into a trough; then a boy ties the sacks and puts them on a cart pulled by a donkey.
W Driven by the wind, heavy stones crush cereal to powder as a worker keeps filling the hopper; his young assistant
  packs the product into bags for transport by animal.
= windmill>lighthouse; tulips>potatoes; flour>salt; donkey>ox; miller>plumber; boy>woman
! donkey>rocket; tulips>televisions; flour>shoes
# church
S A bell rings in a church tower as a wedding party leaves the church.
F A white church with a pointed steeple stands between two linden trees.
F A bronze bell swings in the tower.
F The bride and groom come out of the door, and guests throw rice.
F The couple gets into a carriage drawn by two grey horses.
C A white church with a pointed steeple stands between two linden trees, and a bronze bell swings in the tower. The
  bride and groom come out of the door, and guests throw rice. The couple gets into a carriage drawn by two grey
  horses.
R Between two linden trees, a white church with a pointed steeple is seen while its bronze bell rings. The bride and
  groom step out through the door under a shower of rice from the guests and climb into a carriage with two grey
  horses.
W As chimes sound from the spire of a chapel, newlyweds step outside to be showered with grain by their friends and
  ride away behind a pair of animals.
= church>castle; bell>clock; rice>roses; carriage>limousine; horses>mules; steeple>dome
! carriage>bathtub; bell>fish; rice>bricks
# subway
S A violinist plays in a subway station while commuters hurry past.
F A violinist with a grey scarf stands on a tiled subway platform.
F Commuters with briefcases hurry past.
F A train pulls in, and its doors open.
F A toddler in a stroller points at the violin, and her father stops to listen.
C A violinist with a grey scarf plays on a tiled subway platform while commuters with briefcases hurry past. A train
  pulls in, and its doors open. A toddler in a stroller points at the violin, and her father stops to listen.
R On the tiled platform of a subway station, a musician with a grey scarf plays the violin as commuters carrying
  briefcases rush by. When a train arrives, a small child in a stroller points to the violin and her dad stops to hear
  the music.
W In an underground station, a musician performs for rushing passengers; only a small child and her dad pause to enjoy
  it.
= violin>guitar; briefcases>umbrellas; scarf>tie; train>bus; toddler>dog; father>grandmother
! violin>fish; briefcases>pumpkins; stroller>boat
# greenhouse
S A gardener waters orchids in a greenhouse.
F Sunlight falls through the glass roof of a greenhouse full of orchids.
F A gardener with a straw hat and rubber boots fills a watering can at a tap.
F She sprinkles water on the purple blossoms.
F A butterfly sits on a leaf, and the gardener takes out a magnifying glass.
C Sunlight falls through the roof of a greenhouse full of orchids. A gardener with a straw hat and rubber boots fills
  a watering can at a tap and sprinkles the purple blossoms. When a butterfly sits on a leaf, she takes out a
  magnifying glass.
R A greenhouse full of orchids is lit by the sun through its glass roof. Wearing a straw hat and rubber boots, the
  gardener fills her watering can and waters the purple flowers, then looks at a butterfly on a leaf with a magnifying
  glass.
W Inside a glasshouse, a woman tends exotic flowers, giving them a drink, and then uses a lens to study an insect that
  has landed on a plant.
= orchids>cacti; butterfly>beetle; boots>sandals; gardener>cook; tap>well
! orchids>sharks; butterfly>locomotive; boots>drums
# market stall
S A fishmonger sells fish at a harbor market.
F Boxes of mackerel on ice stand on a stall under a striped awning.
F A fishmonger with a rubber apron weighs a cod on a scale.
F An old woman with a basket hands him a banknote.
F A seagull steals a sardine, and the fishmonger swings a broom at it.
C At a harbor market a fishmonger with a rubber apron stands at a stall with boxes of mackerel on ice and weighs a cod
  on a scale. An old woman with a basket hands him a banknote. A seagull steals a sardine, and he swings a broom at
  it.
R At a stall with boxes of mackerel on ice, a fish seller wearing a rubber apron weighs a cod for an elderly woman
  with a basket, who pays with a banknote. A gull then grabs a sardine and he chases it with a broom.
W By the docks, a vendor serves an elderly customer, who pays in cash for her seafood, and has to chase away a
  thieving bird.
= mackerel>lobsters; seagull>cat; broom>net; basket>backpack; scale>plate; banknote>coin
! seagull>bus; broom>piano; cod>lamp
# robot arm
S A robot arm paints a car door in a factory.
F An orange robot arm moves along a conveyor belt.
F Car doors hang on hooks above the belt.
F The robot sprays blue paint onto a door.
F An engineer with a tablet checks the surface behind a glass wall.
C In a factory an orange robot arm moves along a conveyor belt, above which car doors hang on hooks. The robot sprays
  blue paint onto a door, and an engineer with a tablet checks the surface behind a glass wall.
R Car doors hang from hooks over a conveyor belt in a factory, where an orange robotic arm coats a door with blue
  paint. Behind a glass wall, an engineer holding a tablet examines the result.
W An automatic manipulator coats vehicle parts on a production line, while a technician with a computer inspects the
  quality.
= engineer>pilot; paint>water; tablet>flashlight; belt>rail; hooks>wheels
! belt>river; tablet>sandwich; hooks>trees
# printing press
S A printer makes a poster on an old printing press.
F Metal letters lie in a wooden case in a workshop.
F A printer with inky fingers rolls red ink over the letters.
F The printer lays a sheet of paper on the press and pulls the lever.
F A poster with a rooster is hung on a clothesline to dry.
C In a workshop a printer with inky fingers rolls red ink over metal letters, lays a sheet of paper on an old printing
  press and pulls the lever. A poster with a rooster is hung on a clothesline to dry.
R In his workshop, a printer with ink on his fingers inks metal letters with a roller, places a paper sheet on the old
  press and pulls its lever. The printed poster, which shows a rooster, is hung up on a line to dry.
W A craftsman inks his type, produces a sheet with the picture of a bird on an antique machine and leaves it hanging
  on a string.
= rooster>swan; lever>rope; ink>glue; letters>coins; clothesline>fence; poster>flag
! rooster>airplane; lever>snake; ink>jam
# cargo ship
S A crane unloads containers from a cargo ship.
F A huge cargo ship lies at a pier at night.
F A crane lowers a hook toward a green container.
F The container swings through the air and is set on a railway wagon.
F A dockworker with a flashlight reads the number on the container.
F The wagons roll away behind a diesel locomotive.
C At night a huge cargo ship lies at a pier. A crane lowers a hook toward a green container, which swings through the
  air and is set on a railway wagon. A dockworker with a flashlight reads the number on the container, and the wagons
  roll away behind a diesel locomotive.
R At night in the harbor, a crane picks up a green container from a huge cargo ship and sets it down on a train wagon.
  A worker shines a flashlight on the container to read its number, and the wagons are pulled away by a diesel
  locomotive.
W After dark, freight is lifted off a large vessel in port by a hoisting machine and put onto a train; a laborer
  checks the label in the beam of his torch before an engine pulls the load off.
= ship>airplane; container>log; pier>beach; flashlight>hammer; locomotive>tractor; dockworker>policeman
! container>elephant; flashlight>fish; locomotive>horse
# laundromat
S A student reads a comic in a laundromat while her laundry spins.
F A row of washing machines stands along the wall of a laundromat.
F A student with headphones stuffs jeans and socks into a machine.
F She sits on a plastic chair and reads a comic as the drum spins.
F An old man folds bedsheets at a table next to her.
F She lifts the wet laundry into a basket.
C In a laundromat a student with headphones stuffs jeans and socks into a washing machine, sits on a plastic chair and
  reads a comic as the drum spins. An old man folds bedsheets at a table next to her. Then she lifts the wet laundry
  into a basket.
R At a laundromat, a student wearing headphones fills a washing machine with jeans and socks, then sits down on a
  plastic chair with a comic while an elderly man next to her folds sheets. In the end she puts her wet clothes into a
  basket.
W A young woman does her washing at a coin-operated laundry; she loads her clothes, passes the time with a magazine of
  drawn stories beside a senior sorting his linen, and takes everything out when it is done.
= comic>map; headphones>goggles; socks>ties; bedsheets>newspapers; basket>suitcase; chair>ladder
! comic>shovel; headphones>antlers; basket>canoe
# dentist
S A dentist examines a boy's teeth with a mirror.
F A boy lies in a dentist's chair under a bright lamp.
F A dentist with a face mask looks into the boy's mouth with a small mirror.
F An assistant hands the dentist a drill.
F The boy rinses his mouth and gets a sticker with a dinosaur.
C A boy lies in a chair under a bright lamp, and a dentist with a face mask looks into his mouth with a small mirror.
  An assistant hands the dentist a drill. The boy rinses his mouth and gets a sticker with a dinosaur.
R Under a bright lamp, a boy is lying in the chair while a dentist wearing a mask examines his teeth with a small
  mirror and takes a drill from an assistant. Afterward the child rinses his mouth and receives a dinosaur sticker.
W A doctor checks the teeth of a young patient with her helper passing the instruments; finally the kid washes out his
  mouth and is rewarded with a little picture.
= dentist>hairdresser; boy>girl; drill>syringe; sticker>balloon; lamp>fan; mirror>spoon
! drill>trumpet; sticker>shark; lamp>goat
# painter
S A painter paints a portrait of a woman with a cat.
F A painter with a beret stands in front of an easel in an attic.
F A woman in a velvet dress sits in an armchair with a white cat on her lap.
F The painter mixes blue and ochre on a palette.
F The cat jumps down and knocks over a jar of brushes.
F The finished portrait leans against a wall.
C In an attic a painter with a beret stands in front of an easel, and a woman in a velvet dress sits in an armchair
  with a white cat on her lap. The painter mixes blue and ochre on a palette. The cat jumps down and knocks over a jar
  of brushes. The finished portrait leans against a wall.
R In an attic studio, an artist wearing a beret paints a woman in a velvet dress who is seated in an armchair with a
  white cat. He mixes colors on his palette, the cat leaps off her lap and upsets a jar of brushes, and the portrait
  is finished.
W An artist under the roof blends colors and depicts a lady who poses with her pet in a comfortable seat, until the
  animal leaps off and upsets a container; the picture gets done all the same.
= painter>photographer; cat>rabbit; armchair>hammock; beret>helmet; jar>box; easel>piano
! cat>toaster; palette>sandwich; beret>onion
# plumber
S A plumber repairs a leaking pipe under a sink.
F Water drips from a pipe under a kitchen sink into a bowl.
F A plumber in a grey cap lies on his back with a wrench.
F He wraps white tape around the thread of the pipe.
F A baby crawls over the tiles toward the toolbox.
F The plumber turns on the tap and gives a thumbs up.
C Water drips from a pipe under a kitchen sink into a bowl. A plumber in a grey cap lies on his back with a wrench and
  wraps white tape around the thread of the pipe, while a baby crawls over the tiles toward the toolbox. At last he
  turns on the tap and gives a thumbs up.
R A plumber wearing a grey cap lies under a kitchen sink where water is dripping into a bowl. Using a wrench and white
  tape he fixes the pipe while a baby crawls toward his toolbox, and finally he opens the tap and shows a thumbs up.
W A repairman stops a leak below a basin with his tool and some sealing tape; meanwhile an infant moves across the
  floor, and in the end the water runs as it should.
= plumber>electrician; pipe>cable; wrench>screwdriver; baby>puppy; cap>wig
! wrench>carrot; baby>lobster; pipe>snake
# fisherman
S A fisherman mends a net on a pier.
F A fisherman in a wool sweater sits on a crate at the end of a pier.
F He pulls a needle with twine through a torn net.
F A pelican waits on a post beside him.
F The fisherman tosses a herring to the pelican and lights a cigarette.
C A fisherman in a wool sweater sits on a crate at the end of a pier and pulls a needle with twine through a torn net,
  while a pelican waits on a post beside him. Then he tosses a herring to the pelican and lights a cigarette.
R Sitting on a crate at the end of a pier, a fisherman wearing a woolen sweater repairs a torn net with needle and
  twine, watched by a pelican on a post. He then throws the bird a herring and lights up a cigarette.
W At the waterfront, a man in a knitted pullover repairs his gear with thread as a big bird looks on; at last he feeds
  it and has a smoke.
= fisherman>gardener; net>sail; pelican>penguin; herring>squid; sweater>raincoat; crate>chair
! pelican>bicycle; herring>brick; crate>elephant
"""
)
UNSEEN = _subjects(
    """\
# judo
S Two children practice judo on a mat.
F Two children in white suits bow to each other on a blue mat.
F The girl grabs the boy's collar and throws him over her hip.
F The boy lands on his back and slaps the mat.
F An instructor with a black belt claps and helps the boy up.
C Two children in white suits bow to each other on a blue mat. The girl grabs the boy's collar and throws him over her
  hip, and he lands on his back and slaps the mat. An instructor with a black belt claps and helps him up.
R Dressed in white, a girl and a boy bow on a blue mat before she takes hold of his collar and tosses him over her
  hip. The kid slaps the mat as he comes down, and a teacher wearing a black belt applauds and gets him back on his
  feet.
= mat>lawn; collar>sleeve; belt>scarf; instructor>photographer
! mat>river; belt>snake
# optician
S An optician fits a pair of glasses for an old man.
F An old man sits in front of a mirror in a shop full of glasses.
F An optician with a ponytail puts round glasses on his nose.
F She bends the frame with small pliers.
F The man reads a newspaper with the new glasses and nods.
C An old man sits in front of a mirror in a shop full of glasses. An optician with a ponytail puts round glasses on
  his nose and bends the frame with small pliers. The man reads a newspaper with the new glasses and nods.
R In an eyewear store, an elderly customer is seated before a mirror while the optician, a woman with a ponytail,
  tries round spectacles on him and adjusts them with a pair of pliers. Satisfied, he uses them to read a paper.
= optician>hairdresser; pliers>scissors; newspaper>letter; ponytail>beard
! pliers>carrots; newspaper>shovel
# beaver
S A beaver builds a dam in a river.
F A beaver swims across a river with a branch in its mouth.
F The beaver pushes mud and sticks onto a dam.
F Its flat tail slaps the water.
F A kingfisher watches from a willow on the bank.
C A beaver swims across a river with a branch in its mouth and pushes mud and sticks onto a dam. Its flat tail slaps
  the water, while a kingfisher watches from a willow on the bank.
R Carrying a branch in its teeth, a beaver crosses the river and works on its dam, piling up sticks and mud and
  hitting the water with its flat tail. A small bird, a kingfisher, sits in a willow by the shore.
= beaver>otter; dam>bridge; willow>pine; kingfisher>owl
! dam>piano; kingfisher>bus
# helicopter
S A rescue helicopter lifts a hiker from a mountain.
F A red helicopter hovers over a snowy ridge.
F A rescuer is lowered on a cable to an injured hiker.
F The rescuer straps the hiker to a stretcher.
F The stretcher is pulled up into the helicopter, which flies toward a valley.
C A red helicopter hovers over a snowy ridge, and a rescuer is lowered on a cable to an injured hiker. The rescuer
  straps the hiker to a stretcher, which is pulled up into the helicopter. It flies toward a valley.
R High on a snow-covered ridge, a hurt hiker is saved by a red chopper: a rescue worker comes down on a cable, secures
  the person on a stretcher, and both are hoisted aboard before the aircraft heads for the valley.
= helicopter>airship; cable>ladder; stretcher>sled; hiker>skier; valley>harbor
! stretcher>bathtub; cable>spaghetti
# trumpet
S A girl plays the trumpet at a parade.
F A marching band in green uniforms turns into a main street.
F A girl in the first row lifts her trumpet and plays.
F Spectators wave small flags from behind a rope.
F A boy drops his ice cream, and a dog licks it up.
C A marching band in green uniforms turns into a main street, and a girl in the first row lifts her trumpet and plays.
  Spectators wave small flags from behind a rope. A boy drops his ice cream, and a dog licks it up.
R Musicians wearing green uniforms march down the main road, among them a girl in front who raises her trumpet to
  play. The crowd behind the rope waves little flags, and when a boy's ice cream falls down, a dog eats it.
= trumpet>flute; flags>balloons; rope>fence; dog>cat; uniforms>dresses
! trumpet>shovel; flags>fish
# pancakes
S A father makes pancakes with his daughter.
F A father cracks eggs into a glass bowl while his daughter pours milk.
F The girl stirs the batter with a whisk, and flour dusts her nose.
F The father flips a pancake in a black pan.
F The pancakes are stacked on a plate and covered with blueberries and syrup.
C A father cracks eggs into a glass bowl while his daughter pours milk and stirs the batter with a whisk. He flips a
  pancake in a black pan. The pancakes are stacked on a plate and covered with blueberries and syrup.
R A man and his little girl prepare breakfast pancakes, breaking eggs into a bowl, adding milk and whisking the
  batter. Dad tosses one in the pan, and in the end a stack is served on a plate with blueberries and syrup.
= milk>oil; whisk>spoon; pan>pot; blueberries>bananas; syrup>cheese; plate>napkin
! whisk>saw; blueberries>screws
# drill
S A woman hangs a shelf with a drill.
F A woman in overalls marks the wall with a pencil.
F She drills two holes with a yellow drill, and dust falls on the carpet.
F The woman screws a wooden shelf to the wall.
F She puts a cactus and a radio on the shelf.
C A woman in overalls marks the wall with a pencil and drills two holes with a yellow drill, and dust falls on the
  carpet. She screws a wooden shelf to the wall and puts a cactus and a radio on it.
R Wearing overalls, a woman makes pencil marks on the wall and uses a yellow power drill for two holes, with dust
  landing on the rug. After mounting a wooden shelf she decorates it with a cactus and a radio.
= pencil>crayon; cactus>fern; radio>clock; carpet>sofa; shelf>mirror
! cactus>hamster; radio>shoe
# tennis
S A tennis player wins a match.
F A tennis player with a headband bounces a ball on a clay court.
F He serves, and the ball hits the line.
F The opponent smashes his racket on the ground.
F The winner kisses a silver trophy under flying confetti.
C A tennis player with a headband bounces a ball on a clay court and serves, and the ball hits the line. The opponent
  smashes his racket on the ground. The winner kisses a silver trophy under flying confetti.
R On a clay court, a man wearing a headband bounces the ball and plays a serve onto the line, which makes his rival
  break his racket in anger. Confetti rains down as the champion kisses the silver cup.
= trophy>medal; headband>cap; racket>phone; confetti>snow
! trophy>chicken; racket>umbrella
# sandstorm
S A sandstorm reaches a village in the desert.
F A wall of brown dust rises behind the mud houses of a desert village.
F A woman pulls a carpet from a clothesline and runs inside.
F A boy drags a goat into a stable.
F The sky turns dark, and a palm bends in the wind.
C A wall of brown dust rises behind the mud houses of a desert village. A woman pulls a carpet from a clothesline and
  runs inside, and a boy drags a goat into a stable. The sky turns dark, and a palm bends in the wind.
R A storm of brown dust closes in on a village of mud huts in the desert: a woman takes a rug off the line and hurries
  indoors, a boy brings his goat to safety in a stable, and a palm tree bows under the darkening sky.
= goat>camel; palm>cypress; stable>tent; carpet>shirt
! goat>bicycle; palm>crane
# bridge
S A drawbridge opens for a barge.
F A siren sounds, and red lights flash at a drawbridge.
F Cyclists stop behind a striped barrier.
F The bridge rises, and a barge loaded with gravel passes below.
F A sailor on the barge waves to the bridge keeper in his cabin.
C A siren sounds, and red lights flash at a drawbridge, so that cyclists stop behind a striped barrier. The bridge
  rises, and a barge loaded with gravel passes below. A sailor on the barge waves to the bridge keeper in his cabin.
R With lights flashing and a siren wailing, a drawbridge is raised while people on bikes wait at the striped barrier.
  A barge carrying gravel goes through, and one of its crew waves at the operator in the cabin.
= barge>yacht; gravel>logs; cyclists>joggers; siren>drum; sailor>cook
! gravel>pizza; barge>tram
# loom
S A weaver makes a carpet on a loom.
F A weaver sits at a wooden loom in a courtyard.
F Her hands tie red and blue threads.
F She beats the threads down with an iron comb.
F A kitten plays with a ball of wool at her feet.
F The finished carpet is rolled up and tied with a cord.
C A weaver sits at a wooden loom in a courtyard and ties red and blue threads. She beats them down with an iron comb,
  while a kitten plays with a ball of wool at her feet. The finished carpet is rolled up and tied with a cord.
R In a yard, a woman weaves on a wooden loom, knotting blue and red yarn and pressing it down with a comb made of
  iron. A young cat plays with wool next to her. At the end the rug is rolled up and fastened with string.
= kitten>puppy; comb>hammer; loom>piano; carpet>basket; courtyard>kitchen
! kitten>tractor; comb>sausage
# rocket
S A rocket is launched from a coast.
F A white rocket stands on a launch pad near the sea.
F Clouds of steam pour out as the engines ignite.
F Engineers stare at monitors in a control room.
F The rocket climbs into the sky on a column of fire, and pelicans fly off.
C A white rocket stands on a launch pad near the sea. Clouds of steam pour out as the engines ignite, and engineers
  stare at monitors in a control room. The rocket climbs into the sky on a column of fire, and pelicans fly off.
R Close to the ocean, a white rocket waits on its pad until the engines start with billowing steam. It shoots skyward
  above a pillar of flame, scaring away some pelicans, while technicians follow the launch on their screens.
= pelicans>bats; rocket>airplane; monitors>maps; engineers>nuns
! pelicans>sofas; monitors>aquariums
# vet
S A vet bandages the paw of a dog.
F A vet in a green coat lifts a spaniel onto a metal table.
F The owner holds the dog's head and strokes its ears.
F The vet pulls a thorn out of its paw with tweezers.
F She wraps the paw in a white bandage and gives the dog a biscuit.
C A vet in a green coat lifts a spaniel onto a metal table, and the owner holds its head and strokes its ears. The vet
  pulls a thorn out of its paw with tweezers, wraps the paw in a white bandage and gives the dog a biscuit.
R At an animal clinic, a spaniel is placed on the metal table and calmed by its owner while the veterinarian in green
  removes a thorn from its paw using tweezers. The foot is bandaged, and the brave dog gets a treat.
= thorn>nail; tweezers>needle; spaniel>poodle; biscuit>ball; bandage>sock
! tweezers>trombone; biscuit>brick
# gondola
S A gondolier rows tourists through a canal.
F A gondolier in a striped shirt stands at the back of a black gondola.
F He pushes the gondola off a mossy wall with his foot.
F A couple takes a selfie under a stone bridge.
F A woman lowers a basket from a window with a string.
C A gondolier in a striped shirt stands at the back of a black gondola and pushes off a mossy wall with his foot. A
  couple takes a selfie under a stone bridge, and a woman lowers a basket from a window with a string.
R Through a narrow canal, a boatman wearing a striped shirt steers his black gondola, kicking off from a moss-covered
  wall. Under a bridge of stone two tourists photograph themselves, and from a window above a woman lets a basket down
  on a string.
= gondola>canoe; basket>bucket; bridge>tree; window>roof; shirt>apron
! basket>bathtub; gondola>bus
# chestnuts
S A vendor sells roasted chestnuts at a Christmas market.
F A vendor with a red cap shakes chestnuts in a pan over a fire.
F He fills a paper cone with chestnuts and hands it to a girl.
F Her mother pays with coins.
F A choir sings in front of a tall fir with candles.
C A vendor with a red cap shakes chestnuts in a pan over a fire, fills a paper cone with them and hands it to a girl.
  Her mother pays with coins. A choir sings in front of a tall fir with candles.
R At the Christmas market a seller wearing a red cap roasts chestnuts over the fire and gives a paper cone of them to
  a child, whose mom pays in coins. Nearby, singers perform beneath a big fir tree decorated with candles.
= chestnuts>sausages; choir>orchestra; fir>palm; candles>bells; cone>cup
! chestnuts>nails; choir>herd
# squirrel
S A squirrel hides acorns in a park.
F A red squirrel runs down the trunk of an oak.
F It digs a hole in the grass and drops an acorn in.
F A jogger passes on the gravel path, and the squirrel freezes.
F A magpie digs up the acorn and flies to a statue.
C A red squirrel runs down the trunk of an oak, digs a hole in the grass and drops an acorn in. A jogger passes on the
  gravel path, and the squirrel freezes. Then a magpie digs up the acorn and flies to a statue.
R Climbing down from an oak tree in the park, a red squirrel buries an acorn in the lawn and keeps still when a runner
  goes by on the path. A magpie steals the nut and carries it off to a statue.
= squirrel>rabbit; acorn>mushroom; magpie>pigeon; statue>fountain; jogger>policeman; oak>birch
! acorn>coin; magpie>drone
# bus driver
S A bus driver changes a tire in the rain.
F A school bus stands at the side of a country road in the rain.
F The driver rolls out a spare wheel and kneels next to the bus.
F He loosens the nuts with a wrench.
F Children press their faces against the windows.
F A farmer stops his tractor and holds an umbrella over the driver.
C A school bus stands at the side of a country road in the rain. The driver rolls out a spare wheel, kneels and
  loosens the nuts with a wrench, while children press their faces against the windows. A farmer stops his tractor and
  holds an umbrella over him.
R In rainy weather, the driver of a school bus has to change a wheel on a rural road, undoing the nuts with his wrench
  as kids look out of the windows. A farmer on a tractor pulls up to shelter him with an umbrella.
= tractor>motorcycle; wrench>hammer; umbrella>blanket; farmer>priest; bus>van
! umbrella>guitar; tractor>elephant
# swimming pool
S A lifeguard rescues a boy from a pool.
F A lifeguard with a whistle sits on a high chair next to a pool.
F A boy splashes and shouts in the deep water.
F The lifeguard dives in and swims to him with a red buoy.
F The boy sits on the edge in a towel and drinks lemonade.
C A lifeguard with a whistle sits on a high chair next to a pool, where a boy splashes and shouts in the deep water.
  The lifeguard dives in and swims to him with a red buoy. Then the boy sits on the edge in a towel and drinks
  lemonade.
R From a tall chair beside the swimming pool, a lifeguard notices a struggling boy, jumps into the water and brings
  him a red buoy. Wrapped up in a towel, the child recovers at the poolside with some lemonade.
= whistle>radio; buoy>rope; towel>jacket; lemonade>soup; chair>ladder
! buoy>pumpkin; towel>tent
# puppet show
S A puppeteer performs for children in a square.
F A puppeteer unfolds a small wooden stage on a town square.
F A crocodile puppet and a king puppet fight with a stick.
F Children on cushions scream with laughter.
F The puppeteer collects coins in a top hat.
C A puppeteer unfolds a small wooden stage on a town square. A crocodile puppet and a king puppet fight with a stick,
  and children on cushions scream with laughter. Then the puppeteer collects coins in a top hat.
R On the market place of a town, a performer sets up a little puppet theatre, where a king and a crocodile fight over
  a stick to the delight of laughing kids sitting on cushions. Afterwards he gathers money in his top hat.
= crocodile>dragon; king>witch; cushions>benches; coins>flowers; stick>sword; square>beach
! stick>sausage; crocodile>teapot
# ice fishing
S A man fishes through a hole in the ice.
F A man with a fur hood drills a hole in a frozen lake.
F He sits on a folding chair and lowers a line into the hole.
F A trout wriggles on the hook.
F He fries the trout over a gas stove in front of a tent.
C A man with a fur hood drills a hole in a frozen lake, sits on a folding chair and lowers a line into the hole. A
  trout wriggles on the hook, and he fries it over a gas stove in front of a tent.
R Out on a frozen lake, a man wearing a fur hood makes a hole in the ice and waits on his chair with a fishing line
  until a trout bites. The fish is then cooked on a gas stove next to the tent.
= trout>eel; stove>grill; tent>cabin; chair>sled; lake>river
! trout>shoe; stove>organ
# gym
S A weightlifter lifts a barbell at a contest.
F A weightlifter rubs chalk on her hands in front of a panel of judges.
F She grips the barbell and pulls it to her shoulders.
F Her arms shake as she pushes the barbell over her head.
F Three white lamps light up, and she drops the barbell and hugs her trainer.
C A weightlifter rubs chalk on her hands in front of a panel of judges, grips the barbell and pulls it to her
  shoulders. Her arms shake as she pushes it over her head. Three white lamps light up, and she drops the barbell and
  hugs her trainer.
R Watched by the judges, a female weightlifter chalks her hands, brings the heavy barbell up to her shoulders and then
  presses it overhead with trembling arms. Three white lights show that she succeeded, and she embraces her coach.
= chalk>oil; judges>soldiers; trainer>mother; barbell>dumbbell; weightlifter>wrestler
! chalk>honey; barbell>sofa
# florist
S A florist ties a bouquet for a customer.
F A florist with a pencil behind her ear picks lilies from a bucket.
F She cuts the stems with a knife and adds ferns.
F She wraps the bouquet in brown paper with a ribbon.
F A young man in a suit smells the lilies and leaves on a scooter.
C A florist with a pencil behind her ear picks lilies from a bucket, cuts the stems with a knife and adds ferns. She
  wraps the bouquet in brown paper with a ribbon. A young man in a suit smells the lilies and leaves on a scooter.
R In her flower shop, a florist who keeps a pencil behind her ear takes lilies out of a bucket, trims them with a
  knife, combines them with ferns and wraps them up in paper and ribbon. The buyer, a young man wearing a suit, sniffs
  at them and rides away on his scooter.
= lilies>roses; ferns>thistles; scooter>skateboard; ribbon>chain; knife>scissors; suit>raincoat
! lilies>carrots; scooter>camel
# excavation
S Archaeologists dig up a mosaic.
F Archaeologists with sun hats kneel in a trench.
F One of them brushes sand from a mosaic of a dolphin.
F A student measures the mosaic with a tape and makes a drawing.
F A drone rises above the ruins of a temple.
C Archaeologists with sun hats kneel in a trench, and one of them brushes sand from a mosaic of a dolphin. A student
  measures the mosaic with a tape and makes a drawing. A drone rises above the ruins of a temple.
R At an excavation, researchers wearing sun hats work on their knees in a trench, uncovering the mosaic of a dolphin
  with a brush. While a student sketches and measures it, a drone takes off over the ruined temple.
= mosaic>skeleton; dolphin>lion; drone>balloon; temple>castle; student>priest
! mosaic>pizza; drone>turkey
# recording studio
S A singer records a song in a studio.
F A singer with large headphones stands at a microphone behind a window.
F A sound engineer moves the sliders of a mixing desk.
F The singer closes her eyes and raises one hand.
F A guitarist on a sofa taps his foot and eats peanuts.
F The engineer gives a thumbs up.
C A singer with large headphones stands at a microphone behind a window, and a sound engineer moves the sliders of a
  mixing desk. The singer closes her eyes and raises one hand, while a guitarist on a sofa taps his foot and eats
  peanuts. At last the engineer gives a thumbs up.
R In a recording studio, a vocalist wearing big headphones sings into the microphone with closed eyes and a lifted
  hand while the engineer operates the mixing desk on the other side of the glass. On the couch, the guitar player
  snacks on peanuts, and the engineer finally signals his approval.
= peanuts>cherries; sofa>ladder; guitarist>drummer; headphones>goggles; window>curtain
! peanuts>nails; microphone>cactus
"""
)
