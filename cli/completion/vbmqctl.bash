# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion of vbmqctl: verbs, options and what the arguments are come from the program itself.

_vbmqctl()
{
	local cur prev words cword
	_init_completion -n = || return
	local verb=${words[1]:-}

	if ((cword == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(vbmqctl _complete verbs 2>/dev/null) help --help --version" -- "$cur")
		return
	fi
	case $prev in
	-s | --snapshot | --host | -d | --domain | --policy | -o | --output | -f | --fleet | --svg)
		_filedir
		return
		;;
	-g | --guest)
		# 40xsmall.xml: the file after the count
		if [[ $cur == *x* ]]; then
			mapfile -t COMPREPLY < <(compgen -f -P "${cur%%x*}x" -- "${cur#*x}")
			compopt -o filenames
		fi
		return
		;;
	--run-dir | --state-dir)
		_filedir -d
		return
		;;
	--capability)
		mapfile -t COMPREPLY < <(compgen -W "live-map cold-map pin-poll" -- "$cur")
		return
		;;
	--bus)
		mapfile -t COMPREPLY < <(compgen -W "system session" -- "$cur")
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(vbmqctl _complete options "$verb" 2>/dev/null)" -- "$cur")
		[[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
		return
	fi
	case $(vbmqctl _complete arguments "$verb" 2>/dev/null) in
	domain)
		mapfile -t COMPREPLY < <(compgen -W "$(virsh -q list --name --all 2>/dev/null)" -- "$cur")
		;;
	file)
		_filedir
		;;
	esac
} && complete -F _vbmqctl vbmqctl
