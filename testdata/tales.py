"""An endless stream of small tales, for a language model to learn.

Every sentence was written for this file. A tale mixes what a model must know by heart (which river runs by which
village, what each animal eats, what the riddles mean, which words belong to the sea and which to the kitchen), what it
must look back for (names, colours, things that were broken or hidden before, what was said), and what it must work out
(sums of coins, consequences of a trait). Much is left to chance, so no model can predict all of it.

Most of what must be known by heart are habits: which few verbs a proud captain is likely to do, which things one polishes
if they are wet, and so on for thousands of pairs of words. They fill the weights of a small model, so that damage to the
weights shows.
"""
import functools
import random

WOMEN = ["Orla", "Zoë", "Inès", "Greta", "Maud", "Renée", "Thora", "Wilma", "Petra", "Isolde", "Françoise", "Bess",
         "Anwen", "Sunniva", "Clara", "Ottilie", "Nell", "Marisol", "Hedda", "Ruth"]
MEN = ["José", "Søren", "Björn", "Piet", "Aldo", "Łukasz", "Finn", "Caspar", "Milo", "Rhys", "André", "Gil", "Tomas",
       "Edric", "Hugo", "Jürgen", "Ned", "Pablo", "Sven", "Walt"]

# Each tale has a theme; its words come mostly from there.
THEMES = {
    "sea": ("anchor oar sail barrel shell compass net mast flag bucket", "herring crab biscuit oyster",
            "sailor captain gull pirate whale mermaid", "harbour cliff island beach lighthouse deck",
            "salty wet stormy blue rusty drowned windy silver"),
    "kitchen": ("kettle ladle oven spoon pan jar apron plate sieve jug", "pudding onion soup pie", "cook maid guest cat butcher aunt",
                "kitchen cellar pantry table market chimney", "hot sweet burnt greasy fresh sour spicy clean"),
    "forest": ("acorn nest branch axe trap feather basket arrow stump lantern", "mushroom berry nut honey", "fox owl hunter badger witch deer",
               "clearing cave hollow path brook thicket", "dark mossy wild green tangled silent crooked deep"),
    "castle": ("crown sword key throne mirror banner shield candle ring scroll", "roast grape cake pear", "king queen guard jester knight princess",
               "tower dungeon hall gate moat stair", "golden royal proud heavy noble secret stone cruel"),
    "winter": ("sledge scarf boot shovel stove blanket mitten icicle sack hat", "chestnut turnip broth cheese", "wolf child grandmother woodman bear snowman",
               "hut pond attic valley shed pass", "cold white grey thick frosty bare pale woollen"),
    "fair": ("drum fiddle mask balloon puppet ticket tent flute ribbon bell", "waffle apple nougat sausage", "juggler clown dancer thief monkey giant",
             "square stage wagon street alley bridge", "loud merry bright striped dizzy cheap famous red"),
    "farm": ("plough bucket fence rake wheel scarecrow saddle churn cart ladder", "carrot egg cabbage bread", "farmer goat hen donkey pig goose",
             "barn meadow well orchard stable mill", "muddy brown fat dusty hungry stubborn yellow ripe"),
    "city": ("clock newspaper umbrella letter coat window lamp wallet statue book", "bun pretzel coffee pickle", "baker tailor clerk mayor beggar postman",
             "station shop library school roof corner", "busy tall narrow polite rich foggy modern torn"),
}
COMMON_ADJECTIVES = ("old small big strange little good black quiet broad clever ugly soft long empty round lonely warm sad lucky "
                     "tired new brave gentle poor heavy sleepy").split()
# Done to a thing, and the word that sticks to the thing afterwards.
HANDLED = {"carried": "", "dropped": "dented", "polished": "shining", "hid": "hidden", "broke": "broken", "mended": "mended", "painted": "painted",
           "found": "", "lost": "lost", "sold": "sold", "borrowed": "borrowed", "stole": "stolen", "buried": "buried", "wanted": "", "kicked": "dented",
           "washed": "clean", "forgot": "forgotten", "shook": "", "drew": "", "wrapped": "wrapped", "burned": "burnt", "guarded": ""}
EATEN = "ate tasted smelled cooked bought shared refused swallowed praised cut".split()
MET = "greeted followed tricked thanked woke watched scolded helped chased feared loved envied called fooled visited passed pitied paid".split()
WENT = ["walked to", "ran past", "hid in", "slept near", "looked for", "danced around", "came from", "turned back at", "waited by", "crept through",
        "got lost in", "sang in"]
DEEDS = [*HANDLED, *EATEN, *MET, *WENT, "was", "seemed"]
ADVERBS = "slowly quietly twice gladly never often badly suddenly politely angrily always almost secretly carefully".split()
SAID = "said asked whispered shouted cried muttered answered laughed sighed thought".split()
LINKS = ["but", "and", "because", "so", "while", "until", "although", "before"]
TIMES = ["Then", "At noon", "In the evening", "A week later", "After supper", "Before dawn", "On Sunday", "On Monday", "On Friday", "Once more", "At midnight",
         "Meanwhile", "Suddenly", "All winter", "That summer", "For three days"]

# Animal, its call, what it eats, how it helps.
ANIMALS = [("fox", "Yip", "plums", "showed the way out"), ("owl", "Hoo", "crumbs", "watched all night"), ("badger", "Hrumph", "roots", "dug under the wall"),
           ("crow", "Caw", "cherries", "stole the key"), ("goat", "Meh", "thistles", "climbed up with a rope"), ("otter", "Chirp", "fish", "swam across"),
           ("bear", "Grumble", "honey", "rolled the stone away"), ("mouse", "Eek", "cheese", "gnawed the knot apart"), ("goose", "Honk", "barley", "woke the guards"),
           ("hare", "Snuff", "clover", "ran ahead"), ("donkey", "Hee-haw", "carrots", "kicked the door in"), ("frog", "Quark", "flies", "dived into the well")]
# Trait, whether someone with it shares, and the moral at the end.
TRAITS = [("kind", True, "a small gift comes home by a long road"), ("greedy", False, "a full bag can still be an empty one"),
          ("brave", True, "the dark is only a room without a lamp"), ("lazy", False, "bread that nobody bakes fills nobody"),
          ("clever", True, "a good question opens more doors than a key"), ("proud", False, "the tallest hat is the first to blow away"),
          ("patient", True, "the slow river also finds the sea"), ("careless", False, "a loose knot chooses its own time"),
          ("honest", True, "a true word needs no second coat"), ("stubborn", False, "the wall never says sorry to the head")]
VILLAGES = ["Marrowby", "Tolham", "Eskwick", "Pennadine", "Little Hob", "Vantry", "Cobbleford", "Saint Ulric", "Dunmere",
            "Ashgarth", "Wexley", "Brindle", "Oxenfell", "Quillon", "Harrow Moor", "Nettlebridge", "Sallowick", "Yarrow End", "Fennimore", "Kestrelby"]
RIVERS = ["Silverwash", "Umber", "Little Anne", "Merrow", "Tarn", "Winding Joan", "Cold Ebb", "Lathe", "Orrin", "Swale Beck",
          "Black Otter", "Dove", "Glimmer", "Nine Mile", "Rushwater", "Old Tom", "Ivel", "Pebble", "Wander", "Yeo"]
HILLS = ["Bald Hill", "Giant's Knee", "Crow Top", "Long Bettany", "Stone Hat", "Windy Pike", "Sugarloaf", "the Anvil", "Maiden Rock", "Gull Head",
         "Thunder Tor", "the Sleeping Cow", "Oak Crown", "Fiddler's Seat", "Salt Ridge", "Lantern Hill", "Broken Comb", "the Turnip", "Far Lookout", "Cup Fell"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "grey", "purple"]
ADVICE = ["never cross the bridge after dark", "knock three times", "do not trust the man in the tall hat", "turn left where the road forks",
          "keep one coin for the way back", "drink nothing that is green", "follow the sound of the bell", "look under the third step"]
RIDDLES = [("What has teeth but never bites?", "A comb"), ("What runs all day and never gets tired?", "A river"), ("What grows when you take from it?", "A hole"),
           ("What has hands but cannot clap?", "A clock"), ("What gets wetter the more it dries?", "A towel"), ("What has one eye but cannot see?", "A needle"),
           ("What can you break without touching it?", "A promise"), ("What goes up when the rain comes down?", "An umbrella"),
           ("What has a neck but no head?", "A bottle"), ("What is full of holes and still holds water?", "A sponge"),
           ("What follows you by day and leaves you at night?", "Your shadow"), ("What speaks every tongue and was never at school?", "An echo")]
# Lines that rhyme stand in one group.
RHYMES = [["the kettle sings upon the fire", "the lark goes higher and ever higher", "the old bell hangs on a rusty wire"],
          ["the moon has lost her silver shoe", "the road is long and the sky is blue", "the cuckoo knows it, and so do you"],
          ["a penny for the miller's cat", "the mayor sat upon his hat", "the wolf grew thin and the lamb grew fat"],
          ["three geese went walking down the lane", "they turned around in the pouring rain", "and never saw their home again"],
          ["the door is shut, the lamp is low", "the wind has nowhere left to go", "my grandmother told me so"],
          ["I sold my boots to buy some bread", "I put a basket on my head", "the sun had long since gone to bed"],
          ["round the tower and under the stair", "somebody left a golden chair", "I looked again and it was not there"],
          ["a spider danced on a ball of string", "and who will be the summer's king", "bring what you have and hear me sing"]]
NUMBERS = ("no one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
           "eighteen nineteen twenty").split()


def facts():
    """What is true of every village in every tale: its river, its hill and its colour. The same in each run."""
    rng = random.Random("facts")
    return {village: (river, hill, rng.choice(COLOURS)) for village, river, hill
            in zip(VILLAGES, rng.sample(RIVERS, len(VILLAGES)), rng.sample(HILLS, len(VILLAGES)))}


FACTS = facts()


@functools.cache
def habit(options, key, count):
    """The few of the options that go with the key: drawn once, the same in every tale and in every run."""
    return random.Random("habit " + key).sample(options, min(count, len(options)))


def upper(text):
    return text[0].upper() + text[1:]


def article(text):
    return ("an " if text[0] in "aeiou" else "a ") + text


def coins(n):
    return f"{NUMBERS[n]} coin" + ("" if n == 1 else "s")


class Tale:
    """One tale: who and what it is about is drawn first, then a chain of sentences that refer back to it."""

    def __init__(self, rng):
        self.rng = rng
        woman = rng.random() < 0.5
        self.name = rng.choice(WOMEN if woman else MEN)
        self.she, self.her, self.obj = ("she", "her", "her") if woman else ("he", "his", "him")
        self.trait, self.shares, self.moral = rng.choice(TRAITS)
        self.home, self.goal = rng.sample(VILLAGES, 2)
        self.friend = rng.choice([n for n in WOMEN + MEN if n != self.name])
        self.kin = rng.choice(["sister", "aunt", "cousin"] if self.friend in WOMEN else ["brother", "uncle", "cousin"])
        self.theme = rng.choice(list(THEMES))
        self.treasure = f"{rng.choice(self.words(4))} {rng.choice(self.words(0))}"
        self.coins = rng.randint(3, 10)
        self.advice = rng.choice(ADVICE)
        self.animal, self.call, self.food, self.help = rng.choice(ANIMALS)
        self.things = {}    # thing -> the adjective that it goes by now
        self.beings = []    # whoever has been mentioned, with adjective

    def text(self):
        """The whole tale, one paragraph a line."""
        lines = [self.title(), self.opening(), self.scene()]
        for part in self.rng.sample([self.meeting, self.warning], 2):
            lines += [part(), self.scene()]
        for part in self.rng.sample([self.trade, self.riddle, self.song, self.village], 2):
            lines += [part() + " " + self.scene()]
        return "\n".join(lines + [self.trouble(), self.ending()])

    # Words and phrases

    def pick(self, *options):
        return self.rng.choice(options)

    def chance(self, p):
        return self.rng.random() < p

    def usual(self, options, key, count=4):
        """Mostly one of the few options that go with the key, now and then any."""
        return self.pick(*(habit(tuple(options), key, count) if self.chance(0.8) else options))

    def words(self, kind):
        """The words of a kind (0 things, 1 food, 2 beings, 3 places, 4 adjectives), now and then of a foreign theme."""
        theme = self.theme if self.chance(0.7) else self.pick(*THEMES)
        return THEMES[theme][kind].split()

    def adjective(self):
        return self.pick(*self.words(4)) if self.chance(0.6) else self.pick(*COMMON_ADJECTIVES)

    def thing(self, verb):
        """What the verb is done to: an earlier thing under its present adjective, or a new one."""
        if self.things and self.chance(0.25):
            noun = self.pick(*self.things)
            return f"the {self.things[noun]} {noun}", noun
        adjective = self.adjective()
        noun = self.usual(self.words(0), f"{verb} {adjective}")
        self.things[noun] = adjective
        return article(f"{adjective} {noun}"), noun

    def being(self):
        if self.beings and self.chance(0.25):
            return f"the {self.pick(*self.beings)}"
        noun = self.pick(*self.words(2))
        whole = f"{self.adjective()} {noun}" if self.chance(0.7) else noun
        self.beings.append(whole)
        return article(whole)

    def place(self):
        adjective = self.adjective()
        return f"the {adjective} " + self.usual(self.words(3), adjective) if self.chance(0.4) else "the " + self.pick(*self.words(3))

    def subject(self):
        draw = self.rng.random()
        return self.she if draw < 0.2 else self.name if draw < 0.4 else self.friend if draw < 0.5 else self.being()

    def deed(self, doer):
        """What the doer does; it may change what a thing is called from now on."""
        who = f"{self.name} {self.trait}" if doer == self.she else doer.removeprefix("the ").removeprefix("a ").removeprefix("an ")
        verb = self.usual(DEEDS, who, 12)
        adverb = self.usual(ADVERBS, f"{who} {verb}") + " " if self.chance(0.4) else ""
        if verb in HANDLED:
            phrase, noun = self.thing(verb)
            self.things[noun] = HANDLED[verb] or self.things[noun]
            where = f" in the {self.usual(self.words(3), f'{verb} {noun}')}" if self.chance(0.35) else ""
            return f"{adverb}{verb} {phrase}{where}"
        if verb in EATEN:
            adjective = self.adjective()
            return f"{adverb}{verb} the {adjective} {self.usual(self.words(1), f'{verb} {adjective}', 2)}"
        if verb in MET:
            return f"{adverb}{verb} {self.being()}" + (f" with {self.thing('with')[0]}" if self.chance(0.3) else "")
        if verb in WENT:
            return f"{adverb}{verb} {self.place()}"
        first = self.adjective()
        return f"{verb} {first} and {self.usual(COMMON_ADJECTIVES, first)}"

    def clause(self):
        doer = self.subject()
        return f"{doer} {self.deed(doer)}"

    def sentence(self):
        draw = self.rng.random()
        if draw < 0.3:
            return upper(self.clause()) + "."
        if draw < 0.45:
            return f"{self.pick(*TIMES)} {self.clause()}."
        if draw < 0.65:
            return f"{upper(self.clause())}, {self.pick(*LINKS)} {self.clause()}."
        if draw < 0.75 and self.things:
            noun = self.pick(*self.things)
            return f"The {self.things[noun]} {noun} was " + self.pick(f"as {self.adjective()} as a {self.pick(*self.words(0))}", "gone", "still there",
                                                                    f"in {self.place()}", f"too {self.adjective()} for {self.obj}") + "."
        return f"\"{self.utterance()}\" {self.pick(*SAID)} {self.subject()}."

    def utterance(self):
        draw = self.rng.random()
        if draw < 0.25:
            return f"Where is {self.thing('is')[0]}?"
        if draw < 0.4:
            return f"Who {self.deed('who')}?"
        if draw < 0.6:
            order = self.pick("Bring me", "Give me", "Leave", "Do not touch", "I dreamed of", "There was", "Look at")
            return f"{order} {self.thing(order)[0]}" + self.pick("!", ",")
        if draw < 0.75:
            return f"I saw that {self.clause()},"
        return f"{self.pick('Beware of', 'Ask', 'I know', 'Never wake', 'My mother was', 'You look like')} {self.being()}" + self.pick("!", ",")

    def scene(self):
        return " ".join(self.sentence() for _ in range(self.rng.randint(3, 5)))

    # The parts of the tale

    def title(self):
        return self.pick(f"{self.name} and the {self.treasure}", f"How {self.name} went to {self.goal}", f"The {self.treasure}")

    def opening(self):
        river, hill, colour = FACTS[self.home]
        return self.pick(f"Once {self.name} the {self.trait} lived in {self.home} by the {river}. ",
                         f"In {self.home}, under {hill}, lived {self.name}, who was {self.trait}. ",
                         f"{self.name} was the most {self.trait} of all who wear {colour} in {self.home}. ",
                         f"When the {river} was young, {self.name} lived in {self.home} and was {self.trait}. ") + self.pick(
            f"\"The {self.treasure} is in {self.goal},\" said {self.her} {self.kin} {self.friend}. ",
            f"{self.her.capitalize()} {self.kin} {self.friend} dreamed of the {self.treasure} of {self.goal}. ") + self.pick(
            f"{self.she.capitalize()} had {coins(self.coins)}.", f"So {self.she} left with {coins(self.coins)}.")

    def meeting(self):
        text = f"By {self.place()} sat {article(self.animal)}. \"{self.call}! Have you any {self.food}?\" "
        if self.shares:
            return text + self.pick(f"{self.name} was {self.trait} and shared.", f"{self.she.capitalize()} gave it {self.food}.")
        return text + self.pick(f"{self.name} was too {self.trait} to stop.", f"\"Find your own {self.food},\" said {self.name}.")

    def warning(self):
        who = self.being()
        return self.pick(f"\"{upper(self.advice)}!\" said {who}.", f"{upper(who)} said: \"In {self.goal}, {self.advice}.\"")

    def trade(self):
        before = self.coins
        if before >= 3 and self.chance(0.5):
            change = self.rng.randint(1, before - 1)
            self.coins = before - change
            return f"{self.name} had {coins(before)}, paid {coins(change)}, and kept {coins(self.coins)}."
        change = self.rng.randint(1, 9)
        self.coins = before + change
        return f"{self.name} had {coins(before)}, found {coins(change)}, and now had {coins(self.coins)}."

    def riddle(self):
        question, answer = self.pick(*RIDDLES)
        if self.trait in ("clever", "patient") or self.chance(0.5):
            return f"\"{question}\" asked {self.being()}. \"{answer},\" said {self.name}."
        wrong = self.pick(*[a for _, a in RIDDLES if a != answer])
        return f"\"{question}\" asked {self.being()}. \"{wrong},\" said {self.name}. \"No, {answer[0].lower() + answer[1:]}!\""

    def song(self):
        first, second = self.rng.sample(self.pick(*RHYMES), 2)
        return f"{self.name} sang: \"{upper(first)}, {second}.\""

    def village(self):
        village = self.pick(*VILLAGES)
        river, hill, colour = FACTS[village]
        return self.pick(f"The road led through {village}, where the {river} runs.", f"From {hill} {self.she} saw {village}.",
                         f"In {village} everyone wears {colour}.")

    def trouble(self):
        """What was said and done at the beginning decides how it ends."""
        text = f"At last {self.name} saw {FACTS[self.goal][1]}. \"{upper(self.advice)},\" {self.she} thought. "
        return text + f"The {self.animal} " + (f"{self.help}." if self.shares else f"did not help {self.obj}.")

    def ending(self):
        text = f"So {self.name} came home with" + ("" if self.shares else "out") + f" the {self.treasure} and with {coins(self.coins)}, and {self.friend} "
        text += self.pick("wept", "laughed", "danced") if self.shares else self.pick("said nothing", "sighed", "went away")
        return text + f". {upper(self.moral)}."


def stream(seed):
    """Tales without end; equal seeds give equal tales."""
    rng = random.Random(seed)
    while True:
        yield Tale(rng).text()
