"""Chi-square tests, and classifiers that try to tell two kinds of traces apart.

A classifier is given examples as lists of statements (`tests.mls.virtual.traces.tokens`) with the kind of each, and
then scores others. There are three, with different weaknesses: naive Bayes adds up what each statement says by itself,
logistic regression weighs statements against each other, and boosted stumps pick the few that tell most. `distinguish`
lets them compete on the half that they may see: each learns two thirds of it, and whichever guesses the last third best
learns the whole half and is judged on the other one; then the halves change places. The advantage of a guess that is
right with probability p is |2p - 1|; of mere chance, about one over the square root of the number of guesses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log, sqrt
from random import Random

# Chi-square


def survival(statistic: float, freedom: int) -> float:
    """The probability that chance alone gives so large a chi-square or a larger one."""
    if statistic <= 0:
        return 1.0
    shape, at = freedom / 2, statistic / 2
    scale = exp(shape * log(at) - at - lgamma(shape))
    if at < shape + 1:  # the series of the lower incomplete gamma function
        term = total = 1 / shape
        step = shape
        while term > total * 1e-15:
            step += 1
            term *= at / step
            total += term
        return 1 - scale * total
    # the continued fraction of the upper one, by the modified Lentz method
    tiny = 1e-300
    b = at + 1 - shape
    c, d = 1 / tiny, 1 / b
    value = d
    for index in range(1, 100_000):
        a = -index * (index - shape)
        b += 2
        d = a * d + b
        c = b + a / c
        d = 1 / (d if abs(d) > tiny else tiny)
        c = c if abs(c) > tiny else tiny
        change = c * d
        value *= change
        if abs(change - 1) < 1e-14:
            break
    return scale * value


def evenness(values: Sequence[int], cells: int) -> float:
    """The p-value of the values 0 to `cells` - 1 being equally likely."""
    counts = Counter(values)
    mean = len(values) / cells
    return survival(sum((counts[cell] - mean) ** 2 for cell in range(cells)) / mean, cells - 1)


def independence(rows: Sequence[int], columns: Sequence[int]) -> float:
    """The p-value of two things that were noted together having nothing to do with each other."""
    whole = len(rows)
    by_row, by_column, both = Counter(rows), Counter(columns), Counter(zip(rows, columns, strict=True))
    statistic = 0.0
    for row, in_row in by_row.items():
        for column, in_column in by_column.items():
            mean = in_row * in_column / whole
            statistic += (both[row, column] - mean) ** 2 / mean
    return survival(statistic, (len(by_row) - 1) * (len(by_column) - 1))


# Classifiers

Example = tuple[int, ...]
"""The numbers of the statements that hold."""


class Classifier(ABC):
    """Learns once, then scores: above zero for the second kind."""

    @abstractmethod
    def learn(self, examples: Sequence[Example], kinds: Sequence[bool], words: int) -> None: ...

    @abstractmethod
    def score(self, example: Example) -> float: ...


class NaiveBayes(Classifier):
    """How much likelier each statement is of one kind than of the other."""

    def learn(self, examples: Sequence[Example], kinds: Sequence[bool], words: int) -> None:
        counts = [[1.0] * words, [1.0] * words]
        for example, kind in zip(examples, kinds, strict=True):
            column = counts[kind]
            for word in example:
                column[word] += 1
        totals = kinds.count(False) + 2.0, kinds.count(True) + 2.0
        self._weights = [
            log(yes / totals[1]) - log(no / totals[0]) for no, yes in zip(counts[0], counts[1], strict=True)
        ]
        self._prior = log(totals[1] / totals[0])

    def score(self, example: Example) -> float:
        weights = self._weights
        return self._prior + sum([weights[word] for word in example])


class Logistic(Classifier):
    """Logistic regression by stochastic gradient descent."""

    def __init__(self, rounds: int = 4, rate: float = 0.02) -> None:
        self._rounds = rounds
        self._rate = rate

    def learn(self, examples: Sequence[Example], kinds: Sequence[bool], words: int) -> None:
        self._weights = weights = [0.0] * words
        order = list(range(len(examples)))
        for turn in range(self._rounds):
            Random(turn).shuffle(order)
            rate = self._rate / (1 + turn)
            for at in order:
                example = examples[at]
                value = max(-30.0, min(30.0, sum([weights[word] for word in example])))
                step = rate * (kinds[at] - 1 / (1 + exp(-value)))
                for word in example:
                    weights[word] += step

    def score(self, example: Example) -> float:
        weights = self._weights
        return sum([weights[word] for word in example])


class Boosted(Classifier):
    """AdaBoost over stumps, each of which asks whether one statement holds."""

    def __init__(self, rounds: int = 12) -> None:
        self._rounds = rounds

    def learn(self, examples: Sequence[Example], kinds: Sequence[bool], words: int) -> None:
        self._stumps: list[tuple[int, float]] = []
        signs = [1.0 if kind else -1.0 for kind in kinds]
        weights = [1 / len(examples)] * len(examples)
        for _ in range(self._rounds):
            sums = [0.0] * words
            for example, sign, weight in zip(examples, signs, weights, strict=True):
                signed = sign * weight
                for word in example:
                    sums[word] += signed
            balance = sum(sign * weight for sign, weight in zip(signs, weights, strict=True))
            # A stump that says yes where the word is and no elsewhere is right by `edge` more than wrong.
            best = max(range(words), key=lambda word: abs(2 * sums[word] - balance))
            edge = max(-0.999_999, min(0.999_999, 2 * sums[best] - balance))
            strength = 0.5 * log((1 + edge) / (1 - edge))
            self._stumps.append((best, strength))
            weights = [
                weight * exp(-sign * (strength if best in example else -strength))
                for example, sign, weight in zip(examples, signs, weights, strict=True)
            ]
            total = sum(weights)
            weights = [weight / total for weight in weights]

    def score(self, example: Example) -> float:
        return sum(strength if word in example else -strength for word, strength in self._stumps)


MAKERS: dict[str, type[Classifier]] = {"naive Bayes": NaiveBayes, "logistic": Logistic, "boosted": Boosted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How well the best classifier told what it had not seen."""

    name: str
    by_kind: dict[str, tuple[int, int]]
    """How many were right of how many, by the kind of sighting."""
    traces: int
    traces_right: int
    """The same, of all that was seen of one client taken together."""

    @property
    def guesses(self) -> int:
        return sum(guesses for _, guesses in self.by_kind.values())

    @property
    def advantage(self) -> float:
        return abs(2 * sum(right for right, _ in self.by_kind.values()) / self.guesses - 1)

    @property
    def error(self) -> float:
        """One standard deviation of the advantage of mere chance."""
        return 1 / sqrt(self.guesses)

    @property
    def trace_advantage(self) -> float:
        return abs(2 * self.traces_right / self.traces - 1)

    @property
    def worst(self) -> float:
        """How far from chance it is where it is farthest, over the kinds of sightings, in standard deviations."""
        return max(abs(2 * right - guesses) / sqrt(guesses) for right, guesses in self.by_kind.values())

    def __str__(self) -> str:
        parts = [
            f"{name} {2 * right / guesses - 1:+.1%} of {guesses}" for name, (right, guesses) in self.by_kind.items()
        ]
        whole = f"{self.trace_advantage:.1%} of {self.traces} traces"
        return f"{self.name}: {self.advantage:.2%} +- {self.error:.2%} ({', '.join(parts)}; {whole})"


Trace = Sequence[tuple[str, tuple[str, ...]]]
"""What was seen of one client, each with the kind of sighting that it is."""

Guess = tuple[Trace, bool]
"""A trace, and which kind of client it is of."""


def distinguish(first: Sequence[Guess], second: Sequence[Guess], *, rare: int = 5) -> Verdict:
    """Learn from either half and guess at the other, as two verdicts in one. Each half has the twins side by side."""
    verdicts = [_judged(seen, judged, rare) for seen, judged in ((first, second), (second, first))]
    by_kind: dict[str, tuple[int, int]] = {}
    for verdict in verdicts:
        for name, (right, guesses) in verdict.by_kind.items():
            before = by_kind.get(name, (0, 0))
            by_kind[name] = (before[0] + right, before[1] + guesses)
    return Verdict(
        name=" and ".join(verdict.name for verdict in verdicts),
        by_kind=dict(sorted(by_kind.items())),
        traces=sum(verdict.traces for verdict in verdicts),
        traces_right=sum(verdict.traces_right for verdict in verdicts),
    )


def _judged(seen: Sequence[Guess], judged: Sequence[Guess], rare: int) -> Verdict:
    """Statements too rare to learn from are left out."""
    counts = Counter(word for trace, _ in seen for _, example in trace for word in example)
    numbers = {word: at for at, word in enumerate(sorted(word for word, count in counts.items() if count >= rare))}
    known, answers = _numbered(seen, numbers)
    split = sum(len(trace) for trace, _ in seen[: 2 * len(seen) // 3 & ~1])
    words = len(numbers)

    def rate(name: str) -> float:
        return _right(_taught(name, known[:split], answers[:split], words), known[split:], answers[split:])

    best = max(MAKERS, key=rate)
    model = _taught(best, known, answers, words)
    by_kind: dict[str, tuple[int, int]] = {}
    whole = 0
    for trace, kind in judged:
        scores = [model.score(each) for each in _numbered([(trace, kind)], numbers)[0]]
        whole += (sum(scores) > 0) == kind
        for (name, _), score in zip(trace, scores, strict=True):
            right, guesses = by_kind.get(name, (0, 0))
            by_kind[name] = (right + ((score > 0) == kind), guesses + 1)
    return Verdict(name=best, by_kind=by_kind, traces=len(judged), traces_right=whole)


def _numbered(traces: Sequence[Guess], numbers: dict[str, int]) -> tuple[list[Example], list[bool]]:
    examples, kinds = [], []
    for trace, kind in traces:
        for _, words in trace:
            examples.append(tuple([numbers[word] for word in words if word in numbers]))
            kinds.append(kind)
    return examples, kinds


def _taught(name: str, examples: Sequence[Example], kinds: Sequence[bool], words: int) -> Classifier:
    model = MAKERS[name]()
    model.learn(examples, kinds, words)
    return model


def _right(model: Classifier, examples: Sequence[Example], kinds: Sequence[bool]) -> float:
    return sum((model.score(example) > 0) == kind for example, kind in zip(examples, kinds, strict=True)) / len(kinds)
