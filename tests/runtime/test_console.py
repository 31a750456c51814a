import io
import subprocess
import sys

from rich.console import Console

from src.runtime.console import console


def test_a_file_gets_the_width_that_tables_need_and_a_terminal_keeps_its_own():
    assert console(Console(file=io.StringIO(), width=40)).width == 120
    assert console(Console(file=io.StringIO(), width=40), width=160).width == 160
    terminal = Console(file=io.StringIO(), width=40, force_terminal=True)
    assert console(terminal) is terminal
    assert terminal.width == 40


def test_whoever_stops_reading_stops_no_work(tmp_path):
    """As `python -m src.report … | head -1` does, whose page came after its tables."""
    program = (
        "import sys; from src.runtime.console import console; sys.stdin.read()\n"
        "for line in range(3): console().print(line)\n"
        "open(sys.argv[1], 'w').write('whole')"
    )
    out, pipe = tmp_path / "out.txt", subprocess.PIPE
    command = [sys.executable, "-c", program, str(out)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        process.stdin.close()  # now it prints
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert out.read_text() == "whole"
