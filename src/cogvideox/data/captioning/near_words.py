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
    truck engine vehicle
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
    sweater pullover jumper jersey cardigan
    pants trousers slacks
    gown dress
    spectacles goggles
    purse handbag
    bin can
    sheet bedsheet linen
    cover blanket
    pillow cushion
    lorry truck
    van minivan
    scooter motorbike moped
    wagon carriage
    policeman policewoman police cop
    mailman postman
    lumberjack logger woodcutter
    ranger warden
    clerk cashier
    magician performer wizard
    grandmother grandma granny
    grandfather grandpa granddad
    elderly senior
    audience crowd
    team squad
    brook stream
    creek brook
    sea water
    waterfall cascade falls
    ledge shelf
    ridge crest
    soil mud dirt
    sand dune
    flame blaze fire inferno
    spark ember
    mist vapor steam
    smoke fumes
    snowstorm blizzard
    downpour rain shower
    thunderstorm storm
    plant vegetation greenery
    blossom bud
    claw talon
    fur coat
    feather plumage
    horn antler
    beak mouth
    cocoa chocolate
    beer ale
    noodle spaghetti pasta
    stew soup
    spoon ladle scoop
    jug pitcher
    tin can
    bucket pail
    barrel cask
    wrench spanner
    axe hatchet
    screen monitor
    headphone headset earphone
    wire cable cord
    string cord
    twine string
    yarn wool
    label tag
    notebook pad
    comic magazine
    magazine newspaper
    stall kiosk
    bookcase bookshelf shelf
    cupboard cabinet
    armchair chair
    balcony terrace
    porch veranda
    hut shack cabin
    steeple spire
    road highway
    crossing intersection
    bend curve
    sidewalk pavement
    clearing glade
    gym gymnasium
    court gym
    referee umpire judge
    laboratory lab
    attic loft
    harbour pier
    quay pier
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
    sneaker: trainer shoe
    boot: shoe
    goggles: glasses
    outfit: clothes clothing attire garment
    costume: clothes clothing attire garment
    suitcase: luggage baggage
    crate: box case
    rag: cloth
    ambulance: vehicle
    tractor: vehicle
    wagon: cart car
    carriage: cart car
    deck: ship
    motorcyclist: biker rider
    policeman: officer
    policewoman: officer
    police: officer
    cop: officer
    mover: worker
    fishmonger: vendor seller
    painter: artist
    sculptor: artist
    cellist: musician
    violinist: musician
    pianist: musician
    drummer: musician
    guitarist: musician
    accordionist: musician
    harpist: musician
    ranger: keeper
    warden: keeper
    zookeeper: keeper
    guard: security
    toddler: child
    audience: public
    crowd: public
    team: side
    squad: side
    rainforest: forest
    valley: land
    twig: branch stick
    reed: grass
    moss: grass
    shrub: hedge
    hound: dog
    calf: young
    lamb: young
    foal: young
    cub: young
    chick: young
    hoof: foot
    cub: baby
    meal: food
    snack: food
    cocktail: drink
    beer: drink
    ale: drink
    juice: drink
    dessert: sweet
    loaf: bread
    steak: meat
    fish: seafood
    pastry: bread
    kettle: pot
    jar: container
    torch: burner
    saw: blade
    sword: blade
    string: line
    cord: line
    twine: thread
    string: thread
    yarn: thread
    wool: thread
    rope: line
    strap: band
    ribbon: band
    note: paper
    notebook: book
    pad: book
    comic: book
    magazine: book
    poster: print picture
    portrait: painting picture
    drawing: sketch
    easel: stand
    stall: stand booth
    kiosk: stand booth
    counter: bar
    shelf: rack
    stool: seat
    armchair: seat
    chair: seat
    sofa: seat
    staircase: step
    ladder: step
    shed: hut
    stable: barn
    farmhouse: house home
    cottage: home
    cabin: home
    apartment: home
    skyscraper: tower
    ruin: remains
    wall: barrier
    fence: barrier
    railing: barrier
    gate: barrier
    alley: street
    bend: corner
    curve: corner
    playground: park
    gym: hall
    stadium: field
    rink: ice
    hoop: net
    goal: net
    coach: trainer
    opponent: defender
    workshop: studio
    workshop: factory
    factory: plant
    office: room
    studio: room
    attic: room
    loft: room
    classroom: room
    platform: stage
    station: stop
    harbour: dock
    pier: dock
    quay: dock
    pier: dock
    sheet: paper
    bench: seat
    sit: seat
    stool: seat
    repair: mechanic
    eat: food meal
    feed: food
    wheat: stalk
    corn: stalk
    mail: postman
    tea: cup mug drink
    cocoa: cup mug drink
    juice: glass
    astronomer: observatory
    telescope: observatory
    diver: scuba
    painter: studio
    potter: studio
    sculptor: studio
    forklift: machine vehicle truck
    motorcycle: machine
    bulldozer: machine
    excavator: machine
    tractor: machine
    snowplow: machine
    loom: machine
    write: note
    razor: blade
    knife: blade
    sword: blade
    scissors: blade
    snowstorm: blizzard
    hall: auditorium
    pizzeria: restaurant
    jar: glass
    notebook: paper
    newspaper: paper
    letter: paper
    banknote: cash money
    photograph: camera
    barber: salon
    hairdresser: salon
    husband: couple spouse
    wife: couple spouse
    pipe: smoke
    cigarette: smoke
    van: vehicle traffic
    pier: harbor harbour port waterfront
    dock: harbor harbour port waterfront
    wharf: harbor harbour port waterfront
    jetty: harbor harbour waterfront
    ship: sea port
    sailboat: sea yacht
    sailor: crew sea
    surfer: sea ocean wave
    wave: sea ocean surf
    stream: bank shore
    pond: bank shore
    lake: bank
    lighthouse: sea coast beacon
    snowball: snow
    snowman: snow
    snowplow: snow plow
    ash: smoke
    rubble: debris
    letter: envelope mail post
    parcel: mail post
    bus: vehicle passenger
    train: passenger carriage
    tram: streetcar passenger vehicle
    driver: passenger
    barista: cafe coffeehouse
    espresso: cafe
    waiter: diner guest restaurant meal
    waitress: diner guest restaurant meal
    customer: guest diner
    climber: mountaineer mountain
    cliff: wall
    barn: farm
    shepherd: master livestock
    sheep: livestock
    cow: livestock
    dentist: doctor patient
    nurse: patient
    doctor: patient
    engineer: technician
    tablet: computer device
    laptop: device
    phone: device
    croissant: pastry
    accordion: squeezebox
    drummer: band
    guitarist: band
    hedge: bush
    robot: machine
    truck: load cargo
    container: cargo load freight
    crane: hoist
    beam: girder
    target: bullseye
    mirror: reflection
    gun: weapon
    bow: weapon
    bride: newlywed
    rose: blossom bloom
    petal: blossom
    tulip: blossom
    rice: grain
    nut: snack
    cookie: snack treat
    biscuit: snack treat
    bone: treat
    carrot: nose
    vine: grape
    vineyard: grape vine
    harvest: crop
    tailor: clothes garment
    cloth: fabric textile
    laundry: clothes washing
    jeans: clothes
    sock: clothes
    desk: office
    blackboard: classroom school
    pupil: school classroom
    bed: bedroom
    stove: kitchen
    sink: kitchen
    oven: kitchen
    tent: camp campsite
    campfire: camp campsite
    shelf: store
    stage: audience
    concert: audience music
    tractor: farm field
    hay: farm
    bee: hive
    beekeeper: hive bee
    horse: stable
    runner: race athlete
    swimmer: athlete
    skier: athlete slope
    gymnast: athlete
    boxer: athlete
    """
)
"""Words that an input word allows and that WordNet has not above it."""

NOT_ALLOWED: dict[str, str] = by_line(
    """
    boy: man
    kayak: canoe
    candle: lamp
    hedge: fence
    """
)
"""Words that WordNet has above an input word and that say something else of what can be seen."""

PRONOUNS: dict[str, str] = {
    "he him his himself": "man boy guy male person",
    "she her hers herself": "woman girl lady female person",
}
"""Pronouns -> who may be meant."""
