"""Raw 64-bit output of NumPy's Philox 4x64 (ten rounds).

    python make_philox.py

writes Tests/Golden/Philox/philox4x64.json: for several keys and counters, given as to
numpy.random.Philox(key=[k0, k1], counter=[c0, c1, c2, c3]), the first twelve numbers (three blocks)
as decimal strings. NumPy adds one to the 256-bit counter (word 0 is the lowest) BEFORE it computes
each block, the first one too: the first block is that of counter + 1. The script checks every
number against its own few lines of Philox, and those against the known answer for zeros.
"""

import os

import numpy as np

import golden

ONES = 2**64 - 1
CASES = [  # key, counter
    ((0, 0), (0, 0, 0, 0)),
    ((0, 0), (ONES, ONES, ONES, ONES)),  # wraps: the first block is that of counter 0
    ((1, 0), (0, 0, 0, 0)),
    ((0, 1), (0, 0, 0, 0)),
    ((42, 7), (5, 0, 0, 0)),
    ((42, 7), (0, 5, 0, 0)),
    ((42, 7), (0, 0, 5, 0)),
    ((42, 7), (0, 0, 0, 5)),
    ((0x123456789ABCDEF, 0xFEDCBA987654321), (ONES, 0, 0, 0)),  # carries into word 1
    ((ONES, ONES), (ONES, ONES, 3, 1)),  # carries into word 2
    ((0x452821E638D01377, 0xBE5466CF34E90C6C), (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)),
]


def block(key, counter):
    """One block of Philox 4x64-10."""
    k, c = list(key), list(counter)
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * c[0], 2**64)
        high1, low1 = divmod(0xCA5A826395121157 * c[2], 2**64)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B97F4A7C15) & ONES, (k[1] + 0xBB67AE8584CAA73B) & ONES]
    return c


def following(counter):
    value = (sum(word << 64 * i for i, word in enumerate(counter)) + 1) % 2**256
    return [value >> 64 * i & ONES for i in range(4)]


def main():
    assert block((0, 0), (0, 0, 0, 0)) == [
        0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    cases = []
    for key, counter in CASES:
        raw = np.random.Philox(key=np.array(key, np.uint64), counter=np.array(counter, np.uint64)).random_raw(12)
        mine, current = [], counter
        for _ in range(3):
            current = following(current)
            mine += block(key, current)
        assert mine == [int(value) for value in raw], (key, counter)
        text = lambda values: [str(int(value)) for value in values]
        cases.append({"key": text(key), "counter": text(counter), "output": text(raw)})
    folder = golden.folder("Philox")
    golden.write_json(os.path.join(folder, "philox4x64.json"), {
        "script": "make_philox.py", "versions": golden.versions("numpy"),
        "note": "NumPy adds one to the counter before each block, so the first block is that of counter + 1.",
        "cases": cases})
    print("%d keys and counters agree with the plain implementation" % len(cases))
    golden.report(folder)


if __name__ == "__main__":
    main()
