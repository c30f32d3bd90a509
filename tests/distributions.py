"""Distributions that are planted for a test: a module each, and its entry points."""

import sys


def install(monkeypatch, folder, name, text, **groups):
    """Have a distribution ``name`` 1.0 whose module is ``text``; ``groups`` are ``vmvc.`` ones.

    Each group maps names to what is in the module. What was looked up before is not looked up
    again, so that all of a test's are to be there before its first run.
    """
    site = folder / "site"
    module = name.replace("-", "_")
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, points in groups.items()
        for line in (
            f"[vmvc.{group}]",
            *(f"{point} = {module}:{place}" for point, place in points.items()),
        )
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.delitem(sys.modules, module, raising=False)
    if str(site) not in sys.path:
        monkeypatch.syspath_prepend(str(site))
    return module
