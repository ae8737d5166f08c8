"""What each key of the configuration is for, in the words that editors and docs/configuration.md show.

A table beside `model`, which loads it never: only who prints the schema pays for it. Every key is in it, and no other
(tests/test_schema.py). Text in Markdown; an example is a value as TOML has it.
"""

from typing import Any

TABLES = {
    "Config": "What hotpipe watches, checks and serves. Paths are relative to this file's folder, the project's root.",
    "Watch": "What is watched.",
    "Gate": "How the stages run.",
    "Stage": "One check. The name is yours: `[stage.lint]`, `[stage.test]`.",
    "Server": "One server, and the sockets that hotpipe holds for it. The name is yours: `[server.web]`.",
    "Hooks": "Commands around the life of a server's generation; each a text for sh, or a list of them.",
    "Web": "The dashboard of `hotpipe watch --web`.",
    "Notify": "Who is told when green turns red, and back.",
}

KEYS = {
    "Config": {
        "watch": "What is watched.",
        "gate": "How the stages run.",
        "stage": "The checks, by name, in the order in which they are written.",
        "server": "The servers, by name. Without any, hotpipe is only the gate.",
        "web": "The dashboard.",
        "notify": "Notifications.",
    },
    "Watch": {
        "paths": (
            "Files and folders to watch. `.gitignore` and `.ignore` count; VCS folders, caches, virtual environments, "
            "`node_modules`, the triggers and `.hotpipe/` are left out."
        ),
        "ignore": "More to leave out, in gitignore's syntax.",
        "settle": "The quiet time that ends a burst of saves.",
        "poll": (
            "Look now and then where no events come. `auto`: on file systems where others write without events (NFS, "
            "WSL's drives, folders of a virtual machine's host); `always`: everywhere; `never`: nowhere."
        ),
    },
    "Gate": {
        "jobs": "How many stages run at once. Default: as many as there are CPUs.",
        "fail_fast": "The first failure cancels the rest of the run.",
        "cache_size": "How much may be remembered on disk; what was used longest ago goes first.",
        "trigger": (
            "The file that is touched when all is green, where no server is configured: for a watcher of your own."
        ),
    },
    "Stage": {
        "run": (
            "The command. A text runs in sh, a list is an argv without a shell. `{changed}` becomes the inputs that "
            "changed since the stage last passed, or all of them where that is unknown; in several commands if they "
            "are many. The file that `$HOTPIPE_CHANGED_FILES` names lists them, too."
        ),
        "inputs": (
            "Globs in gitignore's style: which changes fire the stage, and what its pass is remembered for. Name all "
            "that its answer depends on, its own configuration too. Default: every watched file."
        ),
        "needs": "Stages that must pass first; `[]` starts at once. Default: the stage written above.",
        "env": "Environment variables, besides those that hotpipe has.",
        "cwd": "The folder to run in.",
        "timeout": "How long it may take; then it has failed. Default: as long as it likes.",
        "retries": "How often to try again after a failure. A pass after a retry is called flaky, and not remembered.",
        "allow_failure": "A failure is reported, but the run is not red because of it.",
        "mutates": "A fixer: what it writes belongs to the run, and starts no new one.",
        "cache": (
            "Remember a pass, and skip the stage while its inputs, command and environment are the same. `false` for "
            "what depends on more than files: a database, the time, the network."
        ),
        "tty": "It writes to a terminal (a pty) where you look at one, so that it shows colours and progress.",
    },
    "Server": {
        "run": (
            "The command. `{fd}` (the first socket's descriptor), `{fd:NAME}`, `{host}`, `{port}`, `{addr}` and "
            "`{url}` are filled in. A text runs in sh, a list is an argv without a shell."
        ),
        "listen": (
            "The sockets that hotpipe opens and holds: `[TYPE::][HOST:]PORT`, `unix::PATH`, or a table. The default "
            "host is 127.0.0.1; port 0 is a free one."
        ),
        "start": (
            "`now`: boot what is on disk at once, shown as unverified until it has passed; `green`: wait for that."
        ),
        "strategy": (
            "`overlap`: the new generation boots beside the old one. `stop-start`: the old one is stopped first, and "
            "connections wait. `signal`: the server is sent a signal, and reloads itself. Default: `overlap` with "
            "sockets, `stop-start` without."
        ),
        "signal": "The signal of strategy `signal`.",
        "ready": (
            "How a server shows that it can serve. `auto`: it has accepted a connection (without stream sockets: "
            "READY=1, or alive for a second); `notify`: it sends READY=1 (sd_notify(3)); or a table: an answer over "
            "HTTP, a line of output that a regular expression matches, or a time."
        ),
        "ready_timeout": "How long it may take to be ready; then the candidate has failed, and the old one goes on.",
        "smoke": (
            "Commands that the new generation must pass before anybody else can reach it. `{url}` and `{addr}` lead "
            "to it alone."
        ),
        "probation": (
            "How long the old generation is kept after the switch. If the new one dies meanwhile, the old one serves "
            "again."
        ),
        "drain_timeout": "How long requests that the old generation is working on may take.",
        "stop_signal": "How a server is told to stop: sent to the whole process tree.",
        "stop_timeout": "How long it may take to stop; then it is killed.",
        "restart": "What to do when a live server exits, with pauses that grow.",
        "watchdog": (
            "A live server that does not send WATCHDOG=1 (sd_notify(3)) for so long is taken for dead. Default: "
            "nobody looks."
        ),
        "needs": "Stages that must be green for this server; it does not wait for others. Default: all.",
        "inputs": "Globs in gitignore's style: the changes that concern this server. Default: every watched file.",
        "trigger": (
            "The file whose change restarts this server. Default: `.trigger`; where there are several servers, "
            "`.trigger-NAME`."
        ),
        "env": "Environment variables, besides those that hotpipe has.",
        "cwd": "The folder to run in.",
        "tty": "It writes to a terminal (a pty) where you look at one, so that `hotpipe attach` reaches a debugger.",
        "hooks": "Commands around the life of a generation.",
    },
    "Hooks": {
        "before_start": (
            "Before a generation starts. If it fails, the generation is not started, and the old one goes on."
        ),
        "after_ready": "The generation is live.",
        "before_stop": "Before a generation is told to stop.",
        "after_stop": "It has ended.",
        "on_failure": "A generation could not be started, or died; `HOTPIPE_REASON` says why.",
    },
    "Web": {
        "listen": "Where the dashboard listens, `HOST:PORT`. Loopback only.",
        "origins": "Pages that may show the badge, besides those of the configured servers.",
    },
    "Notify": {
        "desktop": "A notification on the desktop.",
        "terminal": "The terminal's own notification (OSC 9), and its title.",
    },
}

EXAMPLES: dict[str, dict[str, list[Any]]] = {
    "Watch": {"paths": [["src", "tests"]], "ignore": [["*.log", "docs/build/"]]},
    "Gate": {"jobs": [2], "cache_size": ["1GB"]},
    "Stage": {
        "run": ["ruff check {changed}", ["pytest", "-q"]],
        "inputs": [["**/*.py", "pyproject.toml"]],
        "needs": [["lint"], []],
        "env": [{"PYTHONWARNINGS": "error"}],
        "timeout": ["5m"],
    },
    "Server": {
        "run": ["uvicorn app:app --fd {fd}", ["node", "server.js"]],
        "listen": [
            ["http::8000"],
            [{"name": "admin", "tcp": "127.0.0.1:8001", "backlog": 4096}],
            ["unix::run/web.sock"],
        ],
        "ready": ["auto", {"http": "/healthz", "status": 200}, {"log": "ready in [0-9]+ ms"}, {"after": "2s"}],
        "smoke": [["curl -fsS {url}/healthz"]],
        "watchdog": ["10s"],
        "needs": [["lint", "test"]],
        "inputs": [["src/**"]],
        "env": [{"APP_ENV": "development"}],
    },
    "Hooks": {"before_start": ["./migrate"], "on_failure": [["echo $HOTPIPE_REASON"]]},
    "Web": {"listen": ["127.0.0.1:7778"], "origins": [["https://app.test"]]},
}
