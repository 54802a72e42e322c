"""The database itself refuses transitions that the tables do not have, whoever asks for them.

Triggers, made after every migration from the tables of agent.wire.states: SQLite drops a table's triggers when a
migration rebuilds it, and what the tables say may change without a migration.
"""

from collections.abc import Iterable

from agent.wire import states

#: Of one SQL statement's list.
_Pairs = Iterable[tuple[str, str]]


def deployment_pairs() -> list[tuple[str, str]]:
    """Every change of a deployment that somebody may make: forwards, or back where a new boot resumes."""
    every = list(states.Deployment)
    return [
        (old, new)
        for old in every
        for new in every
        if old != new and (states.reachable(old, new) or states.may_report(old, new, new_boot=True))
    ]


def rollout_pairs() -> list[tuple[str, str]]:
    return [(old, new) for old, ahead in states.ROLLOUT_NEXT.items() for new in sorted(ahead)]


def command_pairs() -> list[tuple[str, str]]:
    every = list(states.Command)
    return [
        (old, new)
        for old in every
        for new in every
        if old != new and (new in states.COMMAND_NEXT.get(old, ()) or states.command_may_report(old, new))
    ]


def install(connection) -> None:
    """Make the triggers, in place of those that are there."""
    tables = {
        "rollouts_deployment": deployment_pairs(),
        "rollouts_rollout": rollout_pairs(),
        "rollouts_command": command_pairs(),
    }
    make = {"sqlite": _sqlite, "postgresql": _postgresql}[connection.vendor]
    with connection.cursor() as cursor:
        for table, pairs in tables.items():
            for statement in make(table, f"{table}_states", _list(pairs)):
                cursor.execute(statement)


def _list(pairs: _Pairs) -> str:
    return ", ".join(f"'{old}>{new}'" for old, new in sorted(pairs))


def _sqlite(table: str, name: str, allowed: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE UPDATE OF state ON {table} "
        f"WHEN OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({allowed}) "
        f"BEGIN SELECT RAISE(ABORT, 'this state cannot follow the one before it'); END",
    ]


def _postgresql(table: str, name: str, allowed: str) -> list[str]:
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '% cannot follow %', NEW.state, OLD.state USING ERRCODE = 'check_violation'; END $$",
        f"DROP TRIGGER IF EXISTS {name} ON {table}",
        f"CREATE TRIGGER {name} BEFORE UPDATE OF state ON {table} FOR EACH ROW "
        f"WHEN (OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({allowed})) "
        f"EXECUTE FUNCTION {name}()",
    ]
