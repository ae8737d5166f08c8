"""Which variables of hotpipe's own environment say nothing about the result of a stage.

They tell where, by whom and for how long hotpipe was started: the terminal, the editor, the session, the job of a CI.
All others count. In doubt a variable counts: a stage that runs once too often costs less than a green that is none.
"""

from collections.abc import Mapping

_NAMES = {
    # the shell that started hotpipe: where it was, and how deep
    "_", "PWD", "OLDPWD", "SHLVL", "PS1", "PS2", "PROMPT_COMMAND", "HISTFILE", "HISTSIZE", "HISTCONTROL",
    "LS_COLORS", "LSCOLORS", "LESS", "LESSOPEN", "LESSCLOSE",
    # the terminal; a stage has none
    "TERM", "COLORTERM", "COLORFGBG", "TERMCAP", "TERMINFO", "TERMINFO_DIRS", "TERMINAL_EMULATOR",
    "TERM_SESSION_ID", "COLUMNS", "LINES", "WINDOW", "WINDOWID", "VTE_VERSION", "WT_SESSION", "WT_PROFILE_ID",
    "STY", "GPG_TTY", "LC_TERMINAL", "LC_TERMINAL_VERSION",
    # the desktop and its session
    "WAYLAND_SOCKET", "XAUTHORITY", "ICEAUTHORITY", "SESSION_MANAGER", "DESKTOP_SESSION", "DESKTOP_STARTUP_ID",
    "GDMSESSION", "XDG_CURRENT_DESKTOP", "XDG_ACTIVATION_TOKEN", "XDG_SEAT", "XDG_VTNR", "XDG_MENU_PREFIX",
    "AT_SPI_BUS_ADDRESS", "SECURITYSESSIONID", "WSL_INTEROP", "XPC_SERVICE_NAME", "XPC_FLAGS",
    "__CF_USER_TEXT_ENCODING",
    # the login
    "SSH_AGENT_PID", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_ASKPASS", "GPG_AGENT_INFO",
    # the service: sd_notify(3), systemd.exec(5)
    "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID",
    "MANAGERPID", "MAINPID", "MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE",
    # a hook of git, githooks(5)
    "GIT_INDEX_FILE", "GIT_DIR", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_EXEC_PATH", "GIT_EDITOR",
    "GIT_REFLOG_ACTION", "GIT_ASKPASS", "GIT_PAGER", "GIT_QUARANTINE_PATH", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    # editors, and what else hotpipe was started from
    "INSIDE_EMACS", "VIM", "VIMRUNTIME", "MYVIMRC", "NVIM", "NVIM_LISTEN_ADDRESS", "TOOLBOX_VERSION",
    "STARSHIP_SESSION_KEY", "STARSHIP_SHELL", "MAKE_TERMOUT", "MAKE_TERMERR", "MAKELEVEL",
    "PYTEST_CURRENT_TEST",
}  # fmt: skip
_PREFIXES = (
    "HOTPIPE_", "LISTEN_", "TERM_PROGRAM", "VSCODE_", "TMUX", "ZELLIJ", "ITERM_", "KITTY_", "ALACRITTY_", "WEZTERM_",
    "KONSOLE_", "GHOSTTY_", "GNOME_TERMINAL_", "XDG_SESSION_", "DBUS_STARTER_", "ATUIN_", "DIRENV_", "__MISE_",
    # GitHub, GitLab, CircleCI, Buildkite: numbers, names, tokens and files of this one job
    "GITHUB_", "RUNNER_", "ACTIONS_", "CI_JOB_", "CI_PIPELINE_", "CI_COMMIT_", "CI_RUNNER_", "CIRCLE_", "BUILDKITE_",
)  # fmt: skip
_COUNTS = ("GITHUB_ACTIONS", "GITHUB_EVENT_NAME", "GITHUB_REPOSITORY")  # tools behave in another way because of these
_OF_A_COMMIT = ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_AUTHOR_DATE")  # if a hook of git has started hotpipe
_PRESENCE = ("DISPLAY", "WAYLAND_DISPLAY", "SSH_AUTH_SOCK", "DBUS_SESSION_BUS_ADDRESS", "GITHUB_TOKEN")
"""Another one each session, but without one a stage may skip what it should test."""


def counted(inherited: Mapping[str, str]) -> dict[str, str]:
    """What of hotpipe's own environment belongs to a key."""
    out = left_out(inherited)
    found = {name: value for name, value in inherited.items() if name not in out}
    return found | {name: "is set" for name in _PRESENCE if inherited.get(name)}


def left_out(inherited: Mapping[str, str]) -> dict[str, str]:
    """The rest."""
    names = {name for name in inherited if name in _NAMES or name.startswith(_PREFIXES)}.union(_PRESENCE)
    if "GIT_EXEC_PATH" in inherited or "GIT_INDEX_FILE" in inherited:
        names.update(_OF_A_COMMIT)
    return {name: inherited[name] for name in names.difference(_COUNTS) if name in inherited}
