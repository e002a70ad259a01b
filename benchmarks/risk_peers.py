"""What `benchmarks.risk` measures itself against, on the same inputs.

`numba_loop` and `jax_function` are the pricing of `risk.pricing_kernel` written plainly, as one would without thinking
of registers: the library's logarithm and normal distribution, one value after another (numba), or whole arrays (JAX).
They get the same arrays and return the same integers. `quantlib_loop` calls QuantLib's `blackFormula` once a value on
inputs that are already shocked.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Inputs = tuple[Array, ...]
"""As `risk.pricing_kernel.fill_values` takes them, without `out`."""


def numba_loop() -> Callable[[Inputs], Ints]:
    """Plain loops, compiled; float64, no fastmath, one thread."""
    from numba import njit

    @njit(error_model="numpy")
    def loop(sign, forward, strike, root, volatility, twist, skew, slope, scan_range, lots, funding, rows):  # type: ignore[no-untyped-def]  # fmt: skip
        out = np.empty((len(forward), rows.shape[1]), dtype=np.int64)
        for i in range(len(forward)):
            mark = 0.0
            for s in range(rows.shape[1]):
                f = forward[i] * (1.0 + scan_range[i] * rows[0, s] + rows[1, s] + slope[i] * rows[2, s])
                f = max(f, 0.0)
                value = f
                if sign[i] != 0.0:
                    v = volatility[i, 0]
                    if rows[4, s] != 0.0:
                        v = volatility[i, 1]
                    elif rows[5, s] != 0.0:
                        v = volatility[i, 2]
                    v = v * (1.0 + rows[6, s] * twist[i]) * (1.0 - rows[7, s] * skew[i])
                    k, g, spread = strike[i], sign[i], v * root[i]
                    if spread > 0.0 and f > 0.0:
                        d1 = math.log(f / k) / spread + 0.5 * spread
                        d2 = d1 - spread
                        n1 = 0.5 * math.erfc(-g * d1 * 0.7071067811865476)
                        n2 = 0.5 * math.erfc(-g * d2 * 0.7071067811865476)
                        value = max(g * (f * n1 - k * n2), 0.0)
                    else:
                        value = max(g * (f - k), 0.0)
                if s == 0:
                    mark = value
                value = mark + rows[8, s] * (value - mark)
                out[i, s] = int(np.rint((value / lots[i] - funding[i]) * 1e6))
        return out

    return lambda inputs: loop(*inputs)


def jax_function() -> Callable[[Inputs], Ints]:
    """The same on whole arrays, compiled by XLA for the processor; float64, one thread."""
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax
    import jax.numpy as jnp
    from jax.scipy.special import ndtr

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def function(  # type: ignore[no-untyped-def]
        sign, forward, strike, root, volatility, twist, skew, slope, scan_range, lots, funding, rows
    ):
        change = scan_range[:, None] * rows[0] + rows[1] + slope[:, None] * rows[2]
        f = jnp.maximum(forward[:, None] * (1.0 + change), 0.0)
        v = volatility @ rows[3:6]
        v = v * (1.0 + rows[6] * twist[:, None]) * (1.0 - rows[7] * skew[:, None])
        spread, k, g = v * root[:, None], strike[:, None], sign[:, None]
        d1 = jnp.log(f / k) / spread + 0.5 * spread
        value = jnp.maximum(g * (f * ndtr(g * d1) - k * ndtr(g * (d1 - spread))), 0.0)
        value = jnp.where((spread > 0.0) & (f > 0.0), value, jnp.maximum(g * (f - k), 0.0))
        value = jnp.where(g == 0.0, f, value)
        value = value[:, :1] + rows[8] * (value - value[:, :1])
        return jnp.rint((value / lots[:, None] - funding[:, None]) * 1e6).astype(jnp.int64)

    def run(inputs: Inputs) -> Ints:
        out: Any = function(*inputs)
        return np.asarray(out.block_until_ready())

    return run


def quantlib_loop(inputs: Inputs) -> Callable[[], list[float]]:
    """A call of `blackFormula` for each value; the inputs are shocked beforehand and not part of what is timed."""
    import QuantLib

    sign, forward, strike, root, volatility, twist, skew, slope, scan_range, _, _, rows = inputs
    change = scan_range[:, None] * rows[0] + rows[1] + slope[:, None] * rows[2]
    v = (volatility @ rows[3:6]) * (1.0 + rows[6] * twist[:, None]) * (1.0 - rows[7] * skew[:, None])
    shape = change.shape
    kind = [QuantLib.Option.Call if g > 0 else QuantLib.Option.Put for g in np.repeat(sign, shape[1])]
    arguments = list(
        zip(
            kind,
            np.repeat(strike, shape[1]).tolist(),
            (forward[:, None] * (1.0 + change)).ravel().tolist(),
            (v * root[:, None]).ravel().tolist(),
            strict=True,
        )
    )
    black = QuantLib.blackFormula
    return lambda: [black(option, k, f, spread) for option, k, f, spread in arguments]
