# devbox hook for zsh: enters the box of a project with its folder, and leaves it with it.
# In ~/.zshrc:  (( $+commands[devbox] )) && eval "$(devbox hook zsh)"

_devbox_hook() {
    local root target lost=
    # in a box, leaving is what the box's own start file does
    [[ -z ${DEVBOX-} ]] || return 0
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
        if ! builtin cd -q -- "$target"; then
            [[ -z $lost ]] || break
            lost=yes _devbox_project=
        fi
        _devbox_seen=
    done
}

(( ${precmd_functions[(I)_devbox_hook]} )) || precmd_functions=(_devbox_hook $precmd_functions)
