"""Make image classifiers, vision-language models and text-to-image models forget, and find out whether they did."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout the siblings lie beside this folder, in a wheel inside it; both are imported as mmunlearn.<sibling>.
_checkout = Path(__file__).parent.parent
if (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout))
