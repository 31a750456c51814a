"""A GPU made up on the CPU: its tensors say where they are, and whoever mixes them with others fails."""

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CPU = torch.device("cpu")


class OnDevice(torch.Tensor):
    """A tensor that says it is on a GPU, and lies on the CPU."""


class Device(TorchFunctionMode):
    """Computes on the CPU what is said to be on a GPU, and fails where tensors of both are mixed."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if func == torch.Tensor.is_cuda.__get__:
                return isinstance(args[0], OnDevice)
            if func == torch.Tensor.device.__get__:
                return torch.device("cuda:0" if isinstance(args[0], OnDevice) else "cpu")
            if func in (torch.Tensor.cpu, torch.Tensor.tolist, torch.Tensor.item):
                return func(args[0].as_subclass(torch.Tensor), *args[1:], **kwargs)
            if func in (torch.Tensor.numpy, torch.Tensor.__array__):
                assert not isinstance(args[0], OnDevice), "NumPy cannot read what is on a GPU"
            tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
            there = any(isinstance(x, OnDevice) for x in tensors)
            if there and func is not torch.Tensor.copy_:
                indexed = func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__)  # by what the CPU holds, too
                checked = tree_leaves((args[0], *args[2:])) if indexed else tensors
                strangers = [x for x in checked if isinstance(x, torch.Tensor)]
                strangers = [x for x in strangers if not isinstance(x, OnDevice) and x.ndim > 0]
                assert not strangers, f"{func} mixes devices: one of shape {strangers[0].shape} is on the CPU"
            devices = [x for x in (*args, kwargs.get("device")) if isinstance(x, torch.device)]
            if devices:
                there = devices[0].type == "cuda"
                args = [CPU if isinstance(x, torch.device) else x for x in args]
                kwargs |= {"device": CPU} if "device" in kwargs else {}
            out = func(*args, **kwargs)
            before, after = (torch.Tensor, OnDevice) if there else (OnDevice, torch.Tensor)
            return tree_map(lambda x: x.as_subclass(after) if type(x) is before else x, out)
