"""The reading order against a plain sorted list, long enough to be cut into runs."""

from decimal import Decimal

from domain.ordinals import Ordinals, beyond, ordinal_after, with_ordinal, without_ordinal


def flat(ordinals: Ordinals) -> list[Decimal]:
    assert all(0 < len(run) <= 256 for run in ordinals)
    return [ordinal for run in ordinals for ordinal in run]


def test_thousands_of_ordinals_stay_sorted() -> None:
    ordinals: Ordinals = ()
    expected: set[Decimal] = set()
    for turn in range(2_500):
        ordinal = Decimal(turn * 7_919 % 10_007)  # each once, in no order
        ordinals = with_ordinal(ordinals, ordinal)
        expected.add(ordinal)
        if turn % 3 == 2:
            gone = Decimal((turn - 1) * 7_919 % 10_007)
            ordinals = without_ordinal(ordinals, gone)
            expected.remove(gone)
    assert flat(ordinals) == sorted(expected)
    assert len(ordinals) > 5
    assert beyond(ordinals) == max(expected) + 1
    for ordinal in expected:
        ordinals = without_ordinal(ordinals, ordinal)
    assert ordinals == ()


def test_following_across_runs() -> None:
    ordinals: Ordinals = ()
    for ordinal in range(1_000):
        ordinals = with_ordinal(ordinals, Decimal(ordinal))
    last = Decimal(999)
    assert [len(run) for run in ordinals] == [256, 256, 256, 232]
    assert ordinal_after(ordinals, last, Decimal(255)) == Decimal("255.5")
    assert ordinal_after(ordinals, last, Decimal(256)) == Decimal("256.5")
    assert ordinal_after(ordinals, last, None) == -1
    assert ordinal_after(ordinals, last, Decimal(998)) == last
    assert ordinal_after(ordinals, Decimal(0), last) == 1_000
