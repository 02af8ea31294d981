"""Code of the site: where its lines may break."""

import pytest


@pytest.fixture(scope="module")
def code_lines(hook):
    return hook("code_lines")


def test_a_flag_is_kept_whole(code_lines):
    made = code_lines.keep_flags_whole(
        "<p>--a</p><code>cut -n 1 --out=a-b [--c]\n--config.data.d x-y - 3</code>"
    )

    def flag(begin, rest=""):
        return f'<span class="flag"><span class="unbroken">{begin}</span>{rest}</span>'

    assert made == (
        f"<p>--a</p><code>cut {flag('-n')} 1 {flag('--out', '=a-b')} [{flag('--c')}]\n"
        f"{flag('--config', '.data.d')} x-y - 3</code>"
    )
    long = "<code>--config.loss.weight_decay=0.05</code>"
    assert "--config</span>.loss.<wbr>weight_<wbr>decay=<wbr>0.05" in code_lines.keep_flags_whole(
        long
    )
    attribute = '<code><a title="x --y z">a</a></code>'
    assert code_lines.keep_flags_whole(attribute) == attribute


def test_a_name_in_a_table_breaks_at_its_joints(code_lines):
    code = '<code>loss.weight_decay=0.05</code><code><a href="one.two">x.yz</a></code>'
    broken = (
        "<code>loss.<wbr>weight_<wbr>decay=<wbr>0.05</code>"
        '<code><a href="one.two">x.<wbr>yz</a></code>'
    )
    made = code_lines.break_names_at_joints(f"{code}<table>a_b.c{code}</table>{code}")
    assert made == f"{code}<table>a_b.c{broken}</table>{code}"


def test_lines_tell_by_how_much_they_are_set_in(code_lines):
    lines = (
        '<span id="__span-0-1">if a:\n</span><span id="b--__span-0-2"><span class="w">    </span>'
        '<span>c</span></span><span id="__span-0-3">  d</span><span>  e</span>'
    )
    made = code_lines.tell_indentation(lines)
    assert made.count("style=") == 2
    assert made == lines.replace('0-2"', '0-2" style="--indent: 4"').replace(
        '0-3"', '0-3" style="--indent: 2"'
    )


def test_columns_are_counted_in_blocks_that_have_some(code_lines):
    table = "class   boxes   images\na          1        2\nb         10       20\n"
    assert code_lines.columns(table) == 22  # of the first line
    assert code_lines.columns("for x in y:\n    return  1\n") == 0  # indented, no columns
    assert code_lines.columns(table.replace("a ", "a" * 90)) == 0  # nobody could read it
    made = code_lines.fit_columns(
        f"<pre><span></span><code>{table.replace('b', '<b>b</b>')}</code></pre>"
    )
    assert made.startswith('<pre><span></span><code class="columns" style="--columns: 22">class')
    classed = f"<pre><code class=x>a</code></pre><pre>b</pre><code>{table}</code>"
    assert code_lines.fit_columns(classed) == classed
    assert code_lines.fit_columns("<code>a   b   c</code>") == "<code>a   b   c</code>"


def test_an_interval_in_a_table_is_kept_whole(code_lines):
    cells = "<td>+0.011 (+0.003 to -0.018)</td><td>0.470 ± 0.006</td><td>(1 to 2) (a to b)</td>"
    kept = (
        '<td>+0.011 <span class="unbroken">(+0.003 to -0.018)</span></td>'
        '<td><span class="unbroken">0.470 ± 0.006</span></td>'
        '<td><span class="unbroken">(1 to 2)</span> (a to b)</td>'
    )
    made = code_lines.keep_intervals_whole(f"{cells}<table>{cells}</table>")
    assert made == f"{cells}<table>{kept}</table>"
