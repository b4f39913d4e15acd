"""Whether a model loops as often as its data says: on data that no model is made for it may never end."""

from __future__ import annotations

import torch
from torch.export import ExportedProgram


def in_scripts(module: torch.nn.Module) -> bool:
    """In it, or in one of its parts that is a script."""
    scripts = (part for part in module.modules() if isinstance(part, torch.jit.ScriptModule) and hasattr(part, "graph"))
    return any("prim::Loop" in str(part.inlined_graph) for part in scripts)


def in_exported(exported: ExportedProgram | None) -> bool:
    if exported is None:
        return False
    graphs = (part for part in exported.graph_module.modules() if isinstance(part, torch.fx.GraphModule))
    loop = torch.ops.higher_order.while_loop
    return any(node.target is loop for part in graphs for node in part.graph.nodes)
