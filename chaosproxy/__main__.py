"""`python -m chaosproxy`: the same as the command `chaosproxy`."""

from chaosproxy.cli import main

if __name__ == "__main__":
    main(prog_name="chaosproxy")
