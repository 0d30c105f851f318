"""`completion bash|zsh|fish`: a small script for the shell, which asks `localset __complete` at each Tab."""

import click

from localset.cli.output import fail, put

_BASH = r"""# bash completion of localset; put it into your ~/.bashrc: source <(localset completion bash)
_localset() {
    local line candidate kept
    COMPREPLY=()
    while IFS= read -r candidate; do
        COMPREPLY+=("${candidate%%$'\t'*}")
    done < <("${COMP_WORDS[0]}" __complete --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)
    # bash has cut the word at = and : and wants only what comes behind them
    line=${COMP_LINE:0:COMP_POINT}
    line=${line##* }
    kept=${line%"${line##*[=:]}"}
    if [[ -n $kept ]]; then
        COMPREPLY=("${COMPREPLY[@]#"$kept"}")
    fi
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -o default -F _localset localset
"""
_ZSH = r"""#compdef localset
# zsh completion of localset; put it into your ~/.zshrc: source <(localset completion zsh)
_localset() {
    local -a candidates
    local line
    while IFS= read -r line; do
        candidates+=("${${line//:/\\:}/$'\t'/:}")
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ${#candidates} )); then
        _describe localset candidates
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_localset" ]; then
    _localset
elif (( $+functions[compdef] )); then
    compdef _localset localset
fi
"""
_FISH = r"""# fish completion of localset; put it into ~/.config/fish/completions/localset.fish
function __localset_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c localset -a '(__localset_complete)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


@click.command()
@click.argument("shell", default="")
def completion(shell: str) -> int:
    """Print what lets your shell complete commands, flags, kinds and the names of objects.

    \b
    bash:  source <(localset completion bash)
    zsh:   source <(localset completion zsh)
    fish:  localset completion fish > ~/.config/fish/completions/localset.fish
    """
    if shell not in SCRIPTS:
        why = f'Unsupported shell type "{shell}".' if shell else "Shell not specified."
        known = f"the shells are: {', '.join(SCRIPTS)}"
        fail(f"{why}\nSee 'localset completion -h' for help and examples", hint=known)
    put(SCRIPTS[shell].rstrip("\n"))
    return 0
