import io

from rich.console import Console

from src.runtime.console import console


def test_a_file_gets_the_width_that_tables_need_and_a_terminal_keeps_its_own():
    assert console(Console(file=io.StringIO(), width=40)).width == 120
    assert console(Console(file=io.StringIO(), width=40), width=160).width == 160
    terminal = Console(file=io.StringIO(), width=40, force_terminal=True)
    assert console(terminal) is terminal
    assert terminal.width == 40
