"""What words of descriptions may stand for each other, beyond what WordNet says."""

from cogvideox.data.captioning.words import by_line

NEAR_SYNONYMS: tuple[str, ...] = tuple(
    """
    child kid youngster
    man guy gentleman male fellow
    woman lady female
    baby infant
    crowd spectator audience onlooker
    chef cook
    cyclist biker bicyclist
    person individual people human figure folk someone
    friend companion
    father dad daddy parent
    mother mom mum mommy parent
    daughter girl
    son boy
    defender opponent rival
    fan spectator crowd supporter audience
    passerby passersby pedestrian bystander onlooker
    musician performer busker
    firefighter fireman crew
    potter craftsman artisan
    worker labourer builder bricklayer
    scientist researcher
    liquid fluid
    customer client
    racer rider cyclist
    performer entertainer artist
    lady woman
    senior elder
    youth teenager teen adolescent
    pupil student
    cop policeman
    ape monkey
    bug insect
    diver swimmer
    tourist visitor traveler traveller
    student pupil
    soldier troop
    officer policeman police
    driver motorist
    rider horseman jockey
    dancer ballerina
    singer vocalist
    photographer cameraman
    farmer grower
    customer shopper client
    waiter waitress server
    school shoal
    mouth jaw muzzle snout
    beak bill
    paw foot
    tail rear
    shard fragment piece bit
    flashlight torch lantern
    truck engine vehicle van
    sidewalk curb
    lawn grass field
    helmet headgear
    jersey shirt uniform kit
    leggings trousers
    bike bicycle cycle
    hoop basket ring rim
    pot pottery ceramic vessel
    glass cup tumbler
    bottle flask
    spoon ladle
    bowl dish
    stove cooker hob burner
    fridge refrigerator
    tap faucet
    curtain drape
    window pane
    door doorway entrance gate
    corridor hallway hall
    lift elevator
    tv television
    screen monitor display
    microphone mic
    rope cord line
    stick rod pole
    basket hamper
    bench seat
    chair seat
    bed mattress
    blanket quilt
    towel cloth
    tent canopy
    lane road street
    bridge viaduct overpass
    tower building
    cottage house cabin hut
    barn shed
    castle fortress
    church chapel
    market bazaar
    square plaza
    village town settlement
    harbour harbor port marina
    bay cove inlet
    island isle
    desert dune sand
    ice glacier
    fog mist haze
    wind breeze gust
    storm thunderstorm tempest
    meadow pasture
    jungle rainforest
    trunk branch
    fruit berry
    vegetable veggie
    bread loaf
    cake dessert pastry
    noodle pasta
    sauce gravy
    soup broth
    coffee espresso latte brew
    wine drink beverage
    pair couple duo
    photo photograph picture snapshot image
    runway airstrip
    gull seagull
        wheat crop grain
    chess match game
    soil land earth ground dirt
    evening dusk
    tiptoe toe
    forehead brow
    couple pair newlywed spouse
    seller vendor merchant
    opponent rival
    cow cattle
    worker employee staff labourer laborer
    instructor teacher coach trainer
    player athlete sportsman competitor
    musician performer artist player
    street road roadway
    path trail track footpath pathway walkway
    pavement sidewalk
    forest wood woods woodland tree
    sea ocean
    shore beach coast seashore shoreline coastline sand
    hill slope hillside
    mountain peak summit mountainside
    river stream creek waterway
    lake pond
    garden yard backyard
    field meadow pasture grassland
    grass lawn turf
    stone rock boulder pebble
    cliff bluff
    house home building
    flat apartment
    shop store
    cafe restaurant coffeehouse
    counter countertop worktop
    table desk tabletop
    couch sofa settee
    rug carpet mat
    cup mug
    pan skillet
    pot saucepan
    plate dish platter
    meal dish food
    ship boat vessel
    car automobile vehicle
    bicycle bike
    motorcycle motorbike
    lorry truck
    plane airplane aeroplane aircraft jet
    train locomotive
    ball football
    soccer football
    goal net
    stadium arena
    pitch field court
    jacket coat
    shirt top t-shirt
    trousers pants jeans
    hat cap
    spectacles glasses eyeglasses
    bag backpack rucksack
    phone smartphone cellphone mobile
    computer laptop
    picture painting canvas artwork
    light lamp
    lightning thunderbolt
    rain rainfall downpour shower raindrop
    snow snowfall snowflake
    fire flame campfire blaze
    smoke steam vapour vapor
    sunset dusk sundown twilight
    dawn sunrise daybreak
    bag sack
    box container carton
    knife blade
    dough batter
    present gift
    rubbish trash garbage
    paper sheet
    surface floor
    fence railing
    stair staircase stairway stairs step
    pier jetty dock wharf
    puppy dog
    kitten cat
    duckling duck
    bunny rabbit
    horse pony
    bird fowl
    leaf foliage
    bush shrub
    flower blossom bloom
    walk stroll stride wander amble
    run sprint race dash rush jog
    jump leap hop bound
    talk speak chat converse
    look watch gaze stare observe
    smile grin beam
    laugh giggle chuckle
    throw toss hurl fling pitch
    catch grab seize grasp
    pick lift raise
    put place set lay
    cut slice chop carve
    mix stir whisk blend
    cook fry boil grill bake roast
    hit strike smash kick
    ride pedal cycle
    drive travel
    climb ascend scale
    fall drop tumble
    fly soar glide
    swim paddle
    sail cruise drift float
    pour empty tip
    clap applaud cheer
    dance twirl spin whirl
    shine glow gleam
    rotate spin turn
    close shut
    enter arrive
    leave exit depart
    stop halt pause
    wear dress clothe
    wash rinse clean wipe
    sit seat rest perch
    eat nibble munch chew graze
    drink sip
    build construct assemble
    old vintage antique elderly ancient
    big large huge enormous
    small little tiny
    fast quick rapid speedy swift
    slow unhurried
    happy cheerful joyful
    dim dark
    bright sunny sunlit
    calm still quiet peaceful
    busy crowded bustling
    rural country
    city urban town cityscape
    """.strip().splitlines()
)
"""Lines of words that stand for each other in descriptions, though WordNet keeps them apart."""

MORE_GENERAL: dict[str, str] = by_line(
    """
    boy: child kid male youngster
    girl: child kid female youngster
    toddler: child kid baby
    man: adult
    woman: adult
    river: water bank shore
    lake: water shore
    sea: water
    ocean: water
    pool: water
    wave: water
    stream: water
    pond: water
    waterfall: water
    puddle: water
    surf: water
    swim: water swimmer
    dog: pet
    cat: pet
    tree: plant greenery nature vegetation
    grass: greenery nature plant
    car: traffic
    bus: traffic
    truck: traffic
    taxi: traffic
    kitchen: indoors room
    hill: landscape terrain
    sun: sunlight sunshine sunset sunrise daylight
    snow: winter
    coin: money cash
    cyclist: bicycle bike cycle
    shore: land sea water
    beach: land sea water
    coast: land sea water
    boat: water
    fish: water
    barber: barbershop haircut
    baker: bakery
    chef: kitchen restaurant
    cook: kitchen
    doctor: hospital clinic
    nurse: hospital clinic
    teacher: classroom school
    customer: store shop
    farmer: farm
    mechanic: garage workshop
    laboratory: lab
    dancer: dance studio
    pianist: piano
    violinist: violin
    guitarist: guitar
    drummer: drum
    skier: ski
    skater: skate
    gardener: garden
    painter: paint
    lightning: bolt flash
    shake: handshake
    bottle: water drink
    drink: water
    chess: match game player
    shatter: shard piece fragment
    break: shard piece fragment
    diver: underwater water
    dunk: hoop basket
    wash: water
    rain: water
    coffee: drink beverage cup
    bricklayer: worker builder
    musician: music
    play: music game
    mountain: landscape terrain scenery
    forest: nature landscape
    field: landscape
    violin: instrument
    guitar: instrument
    drum: instrument
    sing: song singer
    music: song
    pan: cookware
    pot: cookware
    shirt: clothes clothing outfit
    jacket: clothes clothing outfit
    dress: clothes clothing outfit
    onion: ingredient vegetable
    egg: ingredient food
    flour: ingredient
    tomato: ingredient vegetable
    carrot: ingredient vegetable
    bread: food
    skyscraper: city skyline
    building: city architecture
    traffic: city road vehicle
    racket: tennis
    soccer: match game player
    tennis: match game player
    basketball: match game player
    football: match game player
    father: man
    dad: man
    grandfather: man
    husband: man couple
    brother: boy man sibling
    son: boy child kid
    uncle: man
    king: man
    waiter: man
    groom: man couple wedding
    mother: woman
    mom: woman
    grandmother: woman
    wife: woman couple
    sister: girl woman sibling
    daughter: girl child kid
    aunt: woman
    queen: woman
    waitress: woman
    actress: woman
    ballerina: woman
    bride: woman couple wedding
    team: teammate player
    piano: instrument pianist
    stethoscope: doctor
    """
)
"""Words that an input word allows and that WordNet has not above it."""

PRONOUNS: dict[str, str] = {
    "he him his himself": "man boy guy male person",
    "she her hers herself": "woman girl lady female person",
}
"""Pronouns -> who may be meant."""
