"""Hugging Face folders: config.json and weights. Nothing is downloaded, and no code of the folder runs untrusted."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError, UnavailableError
from compiler.frontend.detect import pickled_globals, read_json, weight_files
from compiler.frontend.hostile.safetensors import check_safetensors
from compiler.frontend.loaders.failures import reading
from compiler.frontend.loaders.settle import settled
from compiler.frontend.loaders.statedict import listed

if TYPE_CHECKING:
    import torch


def load_huggingface(folder: str | Path, trust: bool) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The model as its architecture names it, and what is worth recording about it."""
    folder = Path(folder)
    config = read_json(folder / "config.json")
    _check_folder(folder, config, trust)
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise UnavailableError(
            "missing-extra",
            "Hugging Face folders need the transformers library",
            why=str(error),
            hint="pip install 'plumbline[hf]'",
        ) from error
    remote = trust and bool(config.get("auto_map"))
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    hint = "see whether transformers itself loads it, and in which version"
    errors = (StrictDataclassError, SafetensorError)
    with _offline_and_quiet(), reading(folder, "a Hugging Face model", hint, also=errors):
        settings = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=remote)
        _forget_cache(settings)
        architecture = _architecture(config, remote)
        model, loaded = architecture.from_pretrained(
            folder,
            config=settings,
            local_files_only=True,
            output_loading_info=True,
            **({"trust_remote_code": True} if remote else {}),
        )
    _check_complete(folder, model, loaded)
    facts = {
        "architecture": type(model).__name__,
        "model_type": settings.model_type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": getattr(settings, "_attn_implementation", None),
        "unused_weights": sorted(loaded["unexpected_keys"]),
    }
    return settled(model), facts


def _check_folder(folder: Path, config: Mapping[str, Any], trust: bool) -> None:
    """Refuse what would run the folder's code, or make transformers look outside of it."""
    code = [value for key, value in _settings(config) if key == "auto_map" and value]
    if code and not trust:
        raise CompileError(
            "untrusted-code",
            f"{folder} brings its own model code",
            why=f"config.json has an auto_map: {code[0]}",
            hint="--trust, if you trust its source",
        )
    if quantized := config.get("quantization_config"):
        raise CompileError(
            "quantized-checkpoint",
            f"the weights in {folder} are quantised",
            why=f"config.json has a quantization_config: {quantized}",
            hint="compile the checkpoint it was quantised from",
        )
    if (folder / "adapter_config.json").exists():
        raise CompileError(
            "not-a-model", f"{folder} is an adapter", hint="merge it into its model first: model.merge_and_unload()"
        )
    # torch's distributed checkpoints start with a pickle, which transformers would load.
    if (folder / ".metadata").exists():
        raise CompileError(
            "unsafe-file",
            f"{folder} is a distributed checkpoint",
            why="its .metadata is a pickle",
            hint="save it again with model.save_pretrained(...)",
        )
    for key, value in _settings(config):
        if key in ("attn_implementation", "_attn_implementation", "transformers_weights") and "/" in str(value):
            raise CompileError(
                "unsafe-file",
                f"{folder}/config.json points elsewhere",
                why=f"{key} is {value!r}",
                hint=f"remove {key} from it",
            )
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            check_safetensors(file)
        elif file.suffix == ".json":
            _check_index(folder, file)
        elif foreign := pickled_globals(file):
            raise CompileError(
                "unsafe-file",
                f"{file} is refused: it is a pickle that runs code when it is loaded",
                why=f"it imports {listed(foreign)}",
                hint="take the .safetensors version of this model",
            )


def _settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Every setting, those of inner configurations included."""
    if isinstance(config, Mapping):
        yield from config.items()
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ():
        yield from _settings(value)


def _check_index(folder: Path, index: Path) -> None:
    try:
        files = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise CompileError("unreadable-model", f"{index} is no index of weights", why=str(error)) from error
    for file in files:
        if not isinstance(file, str) or Path(file).name != file:
            raise CompileError("unsafe-file", f"{index} points elsewhere", why=f"it names {file!r}")
        if not (folder / file).is_file():
            raise CompileError(
                "missing-file",
                f"a part of the weights in {folder} is missing",
                why=f"{index.name} names {file}",
                hint="download the folder again",
            )


def _architecture(config: Mapping[str, Any], remote: bool) -> Any:
    import transformers

    names = config.get("architectures") or []
    name = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    if remote:
        by_class = {str(value).rpartition(".")[2]: key for key, value in dict(config["auto_map"]).items()}
        auto = by_class.get(name) or next(
            (key for key in config["auto_map"] if key.startswith("AutoModel")), "AutoModel"
        )
        return getattr(transformers, auto, transformers.AutoModel)
    found = getattr(transformers, name, None) if name.isidentifier() else None
    if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
        return found
    return transformers.AutoModel


def _forget_cache(settings: Any) -> None:
    """Without this a decoder returns its key/value cache, in every sub-model that has one."""
    if hasattr(settings, "use_cache"):
        settings.use_cache = False
    for name in getattr(settings, "sub_configs", {}):
        if (inner := getattr(settings, name, None)) is not None:
            _forget_cache(inner)


def _check_complete(folder: Path, model: torch.nn.Module, loaded: Mapping[str, Any]) -> None:
    missing, errors = sorted(loaded["missing_keys"]), loaded["error_msgs"]
    mismatched = [str(entry[0]) for entry in loaded["mismatched_keys"]]
    if missing or mismatched or errors:
        raise CompileError(
            "weights-do-not-fit",
            f"the weights in {folder} are not all of {type(model).__name__}'s",
            why="; ".join(
                f"{len(names)} {what}: {listed(names)}"
                for what, names in (("missing", missing), ("of another shape", mismatched), ("unreadable", errors))
                if names
            )
            + "; transformers would fill them with random numbers",
            hint="set architectures in config.json to the class that was trained",
        )


@contextmanager
def _offline_and_quiet() -> Iterator[None]:
    """As with HF_HUB_OFFLINE=1, without progress bars and warnings; only while this lasts."""
    from huggingface_hub import constants
    from transformers.utils import logging

    offline, verbosity, bars = constants.HF_HUB_OFFLINE, logging.get_verbosity(), logging.is_progress_bar_enabled()
    constants.HF_HUB_OFFLINE = True
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
