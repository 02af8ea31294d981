"""Lists the commands, each with its description.

python -m experiments
"""

from ioub_jax.commands import listing

if __name__ == "__main__":
    listing.main(
        "python -m experiments.",
        {
            "benchmark": "Measures the cost of this project, alone and compared with others.",
            "fuzz": "Changes valid files of every format at random and reads them.",
            "release": "Builds the wheel and the sdist, and tries them in empty environments.",
            "soak": "Kills a training run at random moments, and compares its bits.",
        },
    )
