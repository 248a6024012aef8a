"""Devices: one mesh along the batch, whatever there is, and where arrays go on it.

The same program runs on one CPU, on simulated devices, on several processes and on a pod slice.
"""

import functools
import math
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from dfjax.records import InputError

LARGE = 2**16  # elements from which an array is worth spreading over the devices, and gathering again


def make_mesh(batch: int | None = None) -> Mesh:
    """The devices of all processes along one axis, 'data'.

    Args:
      batch: examples that a step takes at once. Virtual CPU devices are left out until their number divides it.

    Raises:
      InputError: the devices are real ones, or of several processes, and cannot share the batch evenly.
    """
    count = jax.device_count()
    if batch is not None and batch % count:
        if jax.default_backend() != "cpu" or jax.process_count() > 1:
            raise InputError(
                f"{batch} examples at once (config.train.batch, over config.train.accumulate if given) "
                f"must be divisible by the number of devices, {count}"
            )
        count = max(n for n in range(1, count + 1) if batch % n == 0)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """The same value on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
    """The leading axis spread over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def part_of(mesh: Mesh | AbstractMesh, array: jax.Array | jax.ShapeDtypeStruct) -> NamedSharding:
    """Where an array of the state goes so that every device holds a part of it: fully sharded data parallelism.

    A large one is cut along its largest axis that the number of devices divides, a small one is replicated. The
    compiler gathers what a layer needs, and scatters the gradient again (as Zhao et al., "PyTorch FSDP", VLDB 2023).
    """
    fits = [axis for axis, size in enumerate(array.shape) if size % mesh.size == 0]
    if math.prod(array.shape) < LARGE or not fits:
        return NamedSharding(mesh, PartitionSpec())
    axis = max(fits, key=lambda axis: array.shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))


def each_alone(function: Callable, mesh: Mesh) -> Callable:
    """`function`, compiled so that every device runs it on its part of the last argument, as if it were the only one.

    Of the other arguments every device has the whole. Left to the compiler, which does not split a Fourier transform,
    each would transform the frames of all; and it would sum in an order that depends on the number of devices.
    """
    split = jax.shard_map(
        lambda rest, batch: function(*rest, batch),
        mesh=mesh,
        in_specs=(PartitionSpec(), PartitionSpec("data")),
        out_specs=PartitionSpec("data"),
        check_vma=False,
    )

    @jax.jit
    @functools.wraps(function)
    def run(*arguments):
        return split(arguments[:-1], arguments[-1])

    return run


def shared_by(mesh: Mesh) -> Callable[[Callable], Callable]:
    """Marks a function that is compiled for arrays on this mesh, which shares the batch: see `features.turns.alone`."""

    def mark(function: Callable) -> Callable:
        @functools.wraps(function)
        def run(*arguments):
            with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
                return function(*arguments)

        return run

    return mark


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def gather(mesh: Mesh, params: PyTree) -> PyTree:
    """Parameters where `part_of` puts them -> whole on every device; their gradient goes back in parts.

    Without it the compiler may move activations, and those of the whole batch, in place of the weights.
    """
    return jax.lax.with_sharding_constraint(params, replicated(mesh))


def _gather_forward(mesh, params):
    return gather(mesh, params), None


def _gather_backward(mesh, _, gradient):
    places = jax.tree.map(functools.partial(part_of, mesh), gradient)
    return (jax.lax.with_sharding_constraint(gradient, places),)


gather.defvjp(_gather_forward, _gather_backward)


def put(tree: PyTree, sharding: NamedSharding) -> PyTree:
    """Host arrays that are the same in all processes, placed on the devices of all."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x, x.shape), tree)


def fetch(x: jax.Array):
    """The whole of an array on the host of every process."""
    return multihost_utils.process_allgather(x, tiled=True) if jax.process_count() > 1 else x


def least(value: float | int) -> float | int:
    """The smallest of a number that each process has, in float32 where there are several: the same in all."""
    if jax.process_count() == 1:
        return value
    return float(multihost_utils.process_allgather(np.float32(value)).min())
