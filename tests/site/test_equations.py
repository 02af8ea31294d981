"""Equations of the site: MathML in place of LaTeX."""

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install '.[docs]' does it")
pytest.importorskip("latex2mathml", reason="latex2mathml is not installed: '.[docs]' has it")


@pytest.fixture(scope="module")
def equations(hook):
    return hook("equations")


def letters(math):
    """The elements of some MathML that have text, as (name, text)."""
    elements = ElementTree.fromstring(math.replace(" data-search-exclude", "")).iter()
    return [(one.tag.rpartition("}")[2], one.text) for one in elements if one.text]


def test_an_equation_within_a_line_keeps_its_punctuation(equations):
    made = equations.to_mathml(
        'at (<span class="arithmatex">\\(x &lt; 1\\)</span>), as '
        '<span class="arithmatex">\\(y\\)</span> is'
    )
    assert made.startswith('at <span class="unbroken">(<math ')
    assert "</math>)," in made and made.endswith("</math></span> is")
    assert made.count("<math ") == 2 and made.count('display="inline"') == 2
    assert "&lt;" in made or "&#x0003C;" in made  # escaped again


def test_the_number_of_an_equation_stands_beside_it(equations):
    made = equations.to_mathml(
        '<div class="arithmatex">\\[\nL_\\mathrm{loc} = 2\n\\tag{3}\n\\]</div>\n<p>then</p>'
    )
    math, _, after = made.removeprefix('<div class="equation">').partition("</math>")
    assert after == '<span class="number">(3)</span></div>\n<p>then</p>'
    # Words are words, not rows of letters.
    assert letters(math + "</math>") == [("mi", "L"), ("mi", "loc"), ("mo", "="), ("mn", "2")]


@pytest.mark.parametrize(
    ("latex", "problem"),
    [
        (r"\nosuch{x}", r"unknown command \\nosuch"),
        ("x_1_2", "not valid LaTeX"),
        ("x^", "not valid LaTeX"),
    ],
)
def test_what_cannot_be_read_ends_the_build(equations, latex, problem):
    with pytest.raises(ValueError, match=problem):
        equations.mathml(latex, "inline")


def test_code_is_left_alone(equations):
    text = "<code>\\(x\\)</code> <pre>$$ x $$</pre>"
    assert equations.to_mathml(text) == text
