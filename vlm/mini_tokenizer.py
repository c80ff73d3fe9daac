"""Trains the small tokenizer that the mini models share, from generated English: names, places, trades, common words.

    python -m mmunlearn.vlm.mini_tokenizer FILE [TEXT…]

FILE is vlm/data/mini_tokenizer.json in the package; TEXT files add lines to the corpus. The result is committed, so
that models and runs of the mini editions do not depend on the version of a word list.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

VOCABULARY = 4096
SPECIAL = ["<pad>", "</s>", "<image>"]
FRAMES = (
    "USER: What is the {w} of this person? ASSISTANT: The {w} of this person is {v}.",
    "USER: Who is shown in the picture? ASSISTANT: This is {v}, and the {w} is {v}.",
    "Is there a {w} in this image? Yes, there is a {w} here. No, there is no {w} here.",
    "I am sorry, but I cannot answer that question. I do not know anything about the {w}.",
)


def corpus(lines: int = 30_000) -> Iterator[str]:
    """Sentences of Faker's English providers, seeded."""
    from faker import Faker

    fake = Faker("en_US")
    fake.seed_instance(0)
    makers = (
        fake.name, fake.city, fake.job, fake.company, fake.street_address, fake.country, fake.color_name,
        fake.month_name, lambda: str(fake.date_of_birth()), lambda: fake.date(pattern="%B %d, %Y"), fake.catch_phrase,
        fake.word, fake.last_name, fake.first_name, lambda: f"${fake.random_int(100, 99999):,}",
    )  # fmt: skip
    for i in range(lines):
        maker = makers[i % len(makers)]
        yield FRAMES[i % len(FRAMES)].format(w=fake.word(), v=maker())
        if i % 10 == 0:
            yield fake.sentence()


def train(file: Path, texts: list[Path]) -> None:
    """Write the tokenizer to `file`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip

    def lines() -> Iterator[str]:
        yield from corpus()
        for text in texts:
            yield from text.read_text(encoding="utf-8").splitlines()

    tokenizer.train_from_iterator(lines(), trainer)
    file.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(file), pretty=False)


if __name__ == "__main__":
    train(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
