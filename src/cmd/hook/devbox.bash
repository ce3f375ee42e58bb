# devbox hook for bash: enters the box of a project with its folder, and leaves it with it.
# In ~/.bashrc:  command -v devbox >/dev/null && eval "$(devbox hook bash)"

_devbox_hook() {
    local status=$? root target lost=
    # in a box, leaving is what the box's own start file does
    [[ -z ${DEVBOX-} ]] || return $status
    while [[ $PWD != "${_devbox_seen-}" ]]; do
        _devbox_seen=$PWD root=$PWD
        until [[ -z $root || -e $root/devbox.toml ]]; do
            root=${root%/*}
        done
        # entered once, whatever becomes of it, until the folder is left
        [[ $root != "${_devbox_project-}" ]] || break
        _devbox_project=$root
        [[ -n $root ]] || break
        command devbox enter --hook $$
        target=$(command devbox hook --left $$) || break
        # a folder that is nowhere: back into the box, but once: what is in there may say so each time
        if ! builtin cd -- "$target"; then
            [[ -z $lost ]] || break
            lost=yes _devbox_project=
        fi
        _devbox_seen=
    done
    return $status
}

if [[ $(declare -p PROMPT_COMMAND 2>/dev/null) == 'declare -a'* ]]; then
    [[ " ${PROMPT_COMMAND[*]} " == *' _devbox_hook '* ]] || PROMPT_COMMAND=(_devbox_hook "${PROMPT_COMMAND[@]}")
elif [[ ${PROMPT_COMMAND-} != *_devbox_hook* ]]; then
    PROMPT_COMMAND="_devbox_hook${PROMPT_COMMAND:+$'\n'$PROMPT_COMMAND}"
fi
