"""The command line `pop`: one verb a job. `entry` starts it, `commands_do` and `commands_look` are the verbs."""


def main() -> None:
    """Entry point of `pop`."""
    from flows.cli import entry

    entry.main()
