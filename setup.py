"""Installs affect_nb; every version lives in settings.ini."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).parent
config = ConfigParser(delimiters=["="], interpolation=None)
config.read(root/"settings.ini", encoding="utf-8")
settings = config["DEFAULT"]

# dlib-bin is the same `import dlib`, prebuilt; where no wheel of it exists, dlib is built from source.
DLIB_WHEEL = ("(sys_platform == 'linux' and platform_machine in 'x86_64 aarch64')"
              " or (sys_platform == 'win32' and platform_machine == 'AMD64')"
              " or (sys_platform == 'darwin' and python_version < '3.13')")
DLIB_SOURCE = ("(sys_platform == 'linux' and platform_machine not in 'x86_64 aarch64')"
               " or (sys_platform == 'win32' and platform_machine != 'AMD64')"
               " or (sys_platform == 'darwin' and python_version >= '3.13')")
dlib = [f"dlib-bin>=20; {DLIB_WHEEL}", f"dlib>=19.24; {DLIB_SOURCE}"]


def shared(folder, pattern):
    "What the commands need beside the package: it is installed under <prefix>/share/affect_nb."
    found = sorted(str(path.relative_to(root)) for path in (root/folder).glob(pattern))
    return (f"share/affect_nb/{folder}", found)


setup(
    name=settings["lib_name"],
    version=settings["version"],
    license="Apache-2.0",
    description=settings["description"],
    long_description=(root/"README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    author_email=settings["author_email"],
    keywords=settings["keywords"].split(),
    url=settings["git_url"],
    packages=find_packages(include=["affect_nb", "affect_nb.*"]),
    package_data={"affect_nb": ["weights/*.safetensors", "weights/*.json", "weights/SHA256SUMS", "apps/static/*.js", "apps/static/*.css"]},
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split() + dlib,
    extras_require={"dev": [*settings["dev_requirements"].split(), *settings["networks_requirements"].split(),
                            *settings["heif_requirements"].split(), *settings["statistics_requirements"].split(),
                            *settings["fair_requirements"].split(), *settings["onnx_requirements"].split(),
                            *settings["map_requirements"].split()],
                    "fair": settings["fair_requirements"].split(),
                    "map": settings["map_requirements"].split(),
                    "heif": settings["heif_requirements"].split(),
                    "networks": settings["networks_requirements"].split(),
                    "onnx": settings["onnx_requirements"].split(),
                    "statistics": settings["statistics_requirements"].split(),
                    "cluster": settings["cluster_requirements"].split(),
                    "docs": settings["docs_requirements"].split()},
    data_files=[shared("configs", "*.yaml"), shared("data_manifests", "*.yaml"),
                shared("nbs/80_experiments", "*.ipynb"), shared("nbs/90_tutorials", "*.ipynb"),
                shared("benchmarks", "*.py")],
    entry_points={"console_scripts": settings["console_scripts"].split(),
                  "nbdev": [f"{settings['lib_name']}={settings['lib_name']}._modidx:d"]},
    classifiers=["Development Status :: 3 - Alpha", "Intended Audience :: Science/Research",
                 "Programming Language :: Python :: 3.11", "Programming Language :: Python :: 3.12"],
    zip_safe=False,
)
