"""Lists the commands, each with its description.

python -m experiments
"""

from ioub_jax.commands import listing

if __name__ == "__main__":
    listing.main(
        "python -m experiments.",
        {"benchmark": "Measures the cost of this project, alone and compared with others."},
    )
