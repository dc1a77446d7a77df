# Makes the virtual environment $1 with the first supported Python found.
for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || continue
    "$python" -c 'import venv, ensurepip' 2>/dev/null || { without_venv=$python; continue; }
    exec "$python" -m venv "$1"
done
if [ "$without_venv" ]; then
    echo "$without_venv has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv) and try again." >&2
else
    echo "No Python 3.11, 3.12 or 3.13 was found: install one of them (or name it: make book PYTHON=/path/to/python) and try again." >&2
fi
exit 1
