"""Which texts are English: whole sentences of others are not, and what cannot be told is."""

import pytest

from cogvideox.data.captioning.language import is_english

ENGLISH = (
    "A man walks along the street with his dog.",
    "Waves crash against rocks.",
    "Golden retriever puppies tumble across fresh snow.",
    "Red car, wet road, neon lights, night city.",
    "A sumo wrestler in Osaka ties his mawashi before bowing to the gyoji.",
    "Barista pours latte art.",
    "Ja.",
    "Karate sensei demonstrates kata.",
    "Chef Gordon sautés jalapeños, crème brûlée and pâté.",
    "Ballerina performs grand jeté en pointe.",
    "Samurai draws katana.",
    "El Capitan looms over pines.",
    "A baguette, croque monsieur and café au lait stand on a bistro table in Montmartre.",
    "",
)
OTHERS = (
    "Le chat dort.",
    "Eine Frau lacht.",
    "Una mujer camina sola.",
    "Kvinden går på gaden med en hund.",
    "A man walks in the park. Der Mann setzt sich auf eine Bank und liest eine Zeitung.",
    "El perro corre por el parque detras de una pelota roja.",
    "Ein Mann geht durch den Wald und setzt sich auf eine Bank.",
    "Un homme marche dans la rue avec son chien.",
    "Un uomo cucina la pasta in cucina.",
    "Um cachorro corre na praia e pula na agua.",
    "Een man loopt door het park met zijn hond.",
    "Seorang pria berjalan di taman dengan anjingnya.",
    "Bir adam parkta kopegiyle yuruyor.",
    "En man springer genom skogen.",
    "Mies kulkee metsassa koiransa kanssa.",
    "Kobieta idzie ulica z parasolem.",
    "Собака бежит по пляжу.",
    "一只狗在海滩上奔跑。",
    "개가 해변을 달린다.",
)


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_english(text: str) -> None:
    assert is_english(text)


@pytest.mark.parametrize("text", OTHERS)
def test_others_are_not(text: str) -> None:
    assert not is_english(text)
