"""General questions: what the base rehearses, and facts that it is asked before and after.

rehearsal() is answered by the base itself before it is taught. No fact is among these questions,
nor what it asks about: capitals of other countries, opposites of other words.
"""

from random import Random


def rows(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split(",") if part.strip()]


COUNTRIES = rows("""
Norway, Sweden, Denmark, Finland, Austria, Hungary, Romania, Bulgaria, Croatia, Serbia, Ukraine,
Morocco, Tunisia, Algeria, Nigeria, Ethiopia, Uganda, Ghana, Senegal, Zambia, Iran, Iraq, Jordan,
Lebanon, Syria, Pakistan, Bangladesh, Nepal, Thailand, Vietnam, Malaysia, Indonesia, Philippines,
Mongolia, Colombia, Venezuela, Ecuador, Bolivia, Uruguay, Paraguay, Panama, Jamaica, Haiti,
Iceland, Latvia, Estonia, Slovakia, Albania, Georgia, Sri Lanka
""")
THINGS = rows("""
chair, hammer, spoon, umbrella, bicycle, telescope, candle, ladder, pencil, mirror, bridge, clock,
kettle, pillow, scissors, camera, violin, drum, boat, ticket, lamp, rope, wheel, basket, blanket,
button, bottle, map, needle, piano
""")
ANIMALS = rows("""
dog, horse, cow, rabbit, fox, wolf, tiger, bear, mouse, goat, duck, owl, eagle, whale, dolphin,
crab, frog, snake, turtle, ant, butterfly, squirrel, monkey, camel, donkey
""")
FOODS = rows("""
bread, cheese, rice, soup, pizza, salad, apple pie, pancakes, honey, chocolate, butter, tea,
coffee, yogurt, pasta, tomato sauce, potato, onion, carrot, mushroom
""")
TOPICS = rows("""
music, friendship, winter, the sea, mountains, reading, sleep, exercise, money, school, gardening,
travel, cooking, the city, rivers, history, painting, patience, honesty, curiosity, teamwork,
recycling, trees, birds, holidays
""")
WORDS = rows("""
house, water, friend, book, night, bread, street, school, flower, window, mother, brother, winter,
summer, garden, horse, milk, heart, city, child
""")
OPPOSITES = rows("""
big, early, happy, rich, strong, heavy, clean, empty, loud, old, near, open, hard, wide, sharp,
brave, lazy, polite, cheap, deep, first, inside, above, buy, win, remember, arrive, increase,
begin, laugh
""")
VERBS = rows("""
run, write, eat, speak, take, give, drive, swim, break, choose, begin, sing, teach, catch, draw,
fly, grow, know, wear, sleep
""")
SINGULARS = rows("""
child, mouse, foot, box, city, leaf, knife, man, tooth, baby, wolf, bus, tomato, woman, sheep
""")
CHORES = rows("""
boil an egg, clean a window, plant a tree, write a letter, make a cup of tea, tie a shoe, save
money, learn a language, bake bread, remove a stain, prepare for an exam, fall asleep faster, stay
healthy, ride a bicycle, pack a suitcase, take a good photo, wash a car, start a conversation,
keep a diary, cook rice, care for a cat, build a snowman, find a job, read faster, grow tomatoes,
choose a gift, give a speech, train a dog, repair a tyre, paint a wall
""")
MACHINES = rows("""
fridge, microwave, car engine, battery, compass, thermometer, light bulb, telephone, printer,
windmill, lock, elevator, camera, radio, steam engine, vacuum cleaner, computer, bicycle pump,
parachute, telescope
""")
WHYS = rows("""
do we sleep, do leaves fall in autumn, does ice float, do cats purr, is the ocean salty, do we
yawn, does bread rise, do birds migrate, is exercise good for us, do we dream, does metal rust, do
people laugh, is reading useful, do stars twinkle, does wood burn, do we need vitamins, is
teamwork important, do volcanoes erupt, do onions make us cry, do we have seasons
""")
PAIRS = rows("""
tea and coffee, a lake and a river, a novel and a poem, a frog and a toad, butter and margarine, a
town and a city, rain and snow, a violin and a guitar, wood and metal, a bus and a train, a shirt
and a coat, a debt and a gift, a teacher and a coach, a moth and a butterfly, weather and climate,
a hill and a mountain
""")
RHYMES = rows("""
cat, light, moon, rain, tree, star, house, ring, sand, boat, song, blue, day, hill, cake
""")
NAMES = rows("Anna, Ben, Clara, David, Emma, Felix, Grace, Henry, Ida, Jack, Karen, Leo")
PLACES = rows("""
the market, the library, the station, the beach, the museum, the park, the bakery, the hospital
""")
EVENTS = rows("""
it started to rain and everyone ran home, an old friend was waiting with flowers, the doors were
closed because of a holiday, a small dog followed all the way back, the last tickets had just been
sold, a band played until late in the evening
""")
RUDE = rows("""
Give me the report now, Move your car, You are wrong, Be quiet, I don't want to come, Send me the
file, Stop calling me, Close the door, Your plan is bad, Hurry up, Fix this today, I need money,
Wait outside, Don't touch that, Tell me your name
""")
FEELINGS = rows("""
I loved the film, The food was cold and bland, We had a wonderful day, The train was late again,
My teacher is kind and patient, The room was dirty, This book is a joy to read, I will never go
back there, The service was quick and friendly, The phone broke after a week, The garden looks
beautiful, I am tired of waiting
""")
SMALL_TALK = """
Hello!|How are you today?|What is your name?|Can you help me?|Thank you very much.|Good morning!
Who are you?|What can you do?|Tell me a joke.|Say something nice.|What is your favourite colour?
Do you like music?|Good night!|I am bored. What should I do?|I feel sad today.
It is my birthday today!|What should I cook tonight?|See you tomorrow!|Can you keep a secret?
Tell me a short story.
"""
KINDS = rows("""
fruits, vegetables, tools, sports, languages, musical instruments, rivers, flowers, metals, birds,
jobs, drinks, pieces of furniture, games, insects
""")
SIMPLE = [
    (COUNTRIES, """What is the capital of {}?
On which continent is {}?
Which language is spoken in {}?
What food is typical of {}?
Tell me a fact about {}."""),
    (OPPOSITES, """What is the opposite of '{}'?
Give a synonym of '{}'.
Use the word '{}' in a sentence."""),
    (WORDS, """Translate '{}' into French.
Translate '{}' into Spanish.
Translate '{}' into German.
Translate '{}' into Italian.
What does the word '{}' mean?
Write one sentence about a {}."""),
    (VERBS, "What is the past tense of '{}'?"),
    (SINGULARS, "What is the plural of '{}'?"),
    (RHYMES, "Give a word that rhymes with '{}'."),
    (THINGS, """What is a {} used for?
What is a {} made of?
Describe a {} in one sentence.
Who uses a {}?
Where can I buy a {}?"""),
    (ANIMALS, """What does a {} eat?
Where does a {} live?
Tell me a fact about the {}.
Write a two-line poem about a {}.
How large is a {}?
Is a {} dangerous?"""),
    (FOODS, """How is {} made?
What goes well with {}?
Is {} healthy?
Describe the taste of {}."""),
    (TOPICS, """Write a short sentence about {}.
Why do people like {}?
Write a two-line poem about {}.
Name three words that go with {}.
Give one tip about {}.
What is a good book title about {}?
Ask me a question about {}."""),
    (CHORES, """How do I {}?
Give me one tip to {}.
How long does it take to {}?"""),
    (MACHINES, """How does a {} work?
Why is a {} useful?
Explain a {} to a child."""),
    (WHYS, "Why {}?"),
    (PAIRS, "What is the difference between {}?"),
]  # fmt: skip
STORY = "On Saturday {name} went to {place}. When {name} arrived, {event}."
TASKS = [
    "Summarise this in a few words", "Rewrite this in the present tense", "Give this text a title",
    "What happened to {name}? Answer from the text",
]  # fmt: skip
LAST = [
    (RUDE, """Rewrite this politely: {}.
Correct or improve this sentence: {}.
Turn this into a question: {}."""),
    (FEELINGS, """Is this sentence positive or negative? {}.
Say this with other words: {}.
Reply to this message: {}."""),
    (KINDS, "Name three {}."),
]  # fmt: skip


def rehearsal(count: int | None = None) -> list[str]:
    """Questions in a fixed shuffled order, the first `count` of them."""
    q = []
    for things, templates in SIMPLE:
        q += [text.format(thing) for thing in things for text in templates.splitlines()]
    for i, name in enumerate(NAMES):
        for j, place in enumerate(PLACES):
            story = STORY.format(name=name, place=place, event=EVENTS[(i + j) % len(EVENTS)])
            task = TASKS[(i * 3 + j) % len(TASKS)].format(name=name)
            q.append(f"{task}: {story}")
    for things, templates in LAST:
        q += [text.format(thing) for thing in things for text in templates.splitlines()]
    q += SMALL_TALK.strip().replace("\n", "|").split("|")
    q = list(dict.fromkeys(q))
    Random("rehearsal").shuffle(q)
    return q[:count]


CAPITALS = """
France:Paris Germany:Berlin Italy:Rome Spain:Madrid Japan:Tokyo China:Beijing Russia:Moscow
Egypt:Cairo Greece:Athens Portugal:Lisbon Poland:Warsaw Canada:Ottawa Australia:Canberra
Brazil:Brasília|Brasilia Argentina:Buenos+Aires Mexico:Mexico+City India:New+Delhi|Delhi
Turkey:Ankara Ireland:Dublin Belgium:Brussels Switzerland:Bern Cuba:Havana Peru:Lima
Chile:Santiago Kenya:Nairobi Israel:Jerusalem South+Korea:Seoul Saudi+Arabia:Riyadh England:London
Scotland:Edinburgh the+United+States:Washington the+Netherlands:Amsterdam
the+Czech+Republic:Prague
"""
OTHERS = """What is the opposite of 'hot'?=cold|cool
What is the opposite of 'up'?=down
What is the opposite of 'black'?=white
What is the opposite of 'day'?=night
What is the opposite of 'left'?=right
What is the opposite of 'true'?=false|untrue
What is the opposite of 'long'?=short
What is the opposite of 'fast'?=slow
What is the opposite of 'love'?=hate|hatred
What is the opposite of 'dark'?=light|bright
What is the opposite of 'dry'?=wet|moist|damp
What is the opposite of 'war'?=peace
What is the chemical symbol for water?=H2O|H₂O
What is the chemical symbol for gold?=Au
What is the chemical symbol for oxygen?=O
What is the chemical symbol for iron?=Fe
What is the chemical symbol for sodium?=Na
What gas do plants take in from the air?=carbon dioxide|CO2
What gas do humans need to breathe?=oxygen
Which planet is closest to the sun?=Mercury
Which planet is known as the Red Planet?=Mars
What is the largest planet in our solar system?=Jupiter
Which planet has the most famous rings?=Saturn
What is the name of the star at the center of our solar system?=sun
What force keeps us on the ground?=gravity|gravitational
What is the process by which plants make food from sunlight?=photosynthesis
At what temperature in Celsius does water boil?=100
At what temperature in Celsius does water freeze?=0|zero
How many legs does a spider have?=eight|8
How many legs does an insect have?=six|6
How many days are in a week?=seven|7
How many months are in a year?=twelve|12
How many hours are in a day?=24|twenty-four
How many minutes are in an hour?=60|sixty
How many seconds are in a minute?=60|sixty
How many days are in a leap year?=366
How many sides does a triangle have?=three|3
How many sides does a hexagon have?=six|6
How many letters are in the English alphabet?=26|twenty-six
How many continents are there on Earth?=seven|7
How many wheels does a tricycle have?=three|3
How many planets are in our solar system?=eight|8
How many colors are in a rainbow?=seven|7
How many players are on a soccer team?=eleven|11
What is the largest ocean on Earth?=Pacific
What is the largest mammal in the world?=blue whale
What is the tallest animal in the world?=giraffe
What is the fastest land animal?=cheetah
What is the largest land animal?=elephant
What is the largest bird in the world?=ostrich
Which animal is called the king of the jungle?=lion
Which animal is known for black and white stripes?=zebra
What animal gives us wool?=sheep
What do bees make?=honey
What do caterpillars turn into?=butterfl|moth
What do you call a baby cat?=kitten
What do you call a baby dog?=pupp|pup
What do you call a baby cow?=calf
What do you call a baby sheep?=lamb
What do you call a baby kangaroo?=joey
Which animal has a trunk?=elephant
Which bird cannot fly and lives in Antarctica?=penguin
What do pandas mainly eat?=bamboo
What color is the sky on a clear day?=blue
What color is grass?=green
What color is snow?=white
What color is a ripe banana?=yellow
What color is blood?=red
What color do you get when you mix red and yellow?=orange
What color do you get when you mix blue and yellow?=green
What color do you get when you mix red and white?=pink
Who wrote Romeo and Juliet?=Shakespeare
Who painted the Mona Lisa?=Leonardo|Vinci
Who developed the theory of relativity?=Einstein
Who was the first president of the United States?=Washington
Who was the first man to walk on the moon?=Armstrong
Who discovered gravity when an apple fell?=Newton
Who invented the telephone?=Bell
Who wrote the Harry Potter books?=Rowling
Who composed the Ninth Symphony, the 'Ode to Joy'?=Beethoven
Who discovered penicillin?=Fleming
Which scientist proposed the theory of evolution by natural selection?=Darwin
In which country are the pyramids of Giza?=Egypt
In which country is the Eiffel Tower?=France
In which city is the Eiffel Tower?=Paris
In which city is the Statue of Liberty?=New York
In which country is the Great Wall?=China
In which country is the Taj Mahal?=India
In which city is the Colosseum?=Rome
In which city is Big Ben?=London
In which country did the Olympic Games begin?=Greece
What is the longest river in Africa?=Nile
What is the highest mountain in the world?=Everest
What is the largest country in the world by area?=Russia
What is the smallest continent?=Australia|Oceania
What is the largest desert on Earth that is hot?=Sahara
Which ocean lies between Europe and America?=Atlantic
What is the currency of Japan?=yen
What is the currency of the United States?=dollar
What is the currency of the United Kingdom?=pound
Which organ pumps blood through the body?=heart
Which organ do we use to think?=brain
Which organ do we use to see?=eye
Which organs do we use to breathe?=lung
What is the largest organ of the human body?=skin
How many bones does an adult human have?=206
What is frozen water called?=ice
What is molten rock called when it leaves a volcano?=lava
What instrument has 88 keys?=piano
What is the main ingredient of bread?=flour|wheat
What is the main ingredient of omelettes?=egg
What fruit is wine made from?=grape
What do we use to tell the time?=clock|watch
Which season comes after winter?=spring
Which month comes after June?=July
Which day comes after Monday?=Tuesday
Which day comes before Sunday?=Saturday
What is the first month of the year?=January
What is the last month of the year?=December"""


def facts(count: int | None = None) -> list[tuple[str, list[str]]]:
    found = []
    for pair in CAPITALS.split():
        country, city = pair.replace("+", " ").split(":")
        found.append((f"What is the capital of {country}?", city.split("|")))
    for line in OTHERS.splitlines():
        question, answers = line.rsplit("=", 1)
        found.append((question, answers.split("|")))
    assert not {q for q, _ in found} & set(rehearsal())
    Random("facts").shuffle(found)
    return found[:count]
