"""Which operations are linear in what they differentiate: their averages are their derivatives.

Forgetting one here is no error: it is then averaged at Gauss points like any other operation, which
is exact for it, and costs time.
"""

from __future__ import annotations

from typing import Any

ALWAYS = frozenset(
    """
    add sub rsub neg sum mean cumsum trace mv t transpose permute view _unsafe_view reshape
    _reshape_alias expand squeeze unsqueeze select slice narrow split split_with_sizes chunk unbind
    unfold diagonal diag_embed as_strided clone copy contiguous detach alias lift_fresh cat stack
    concatenate repeat repeat_interleave flip roll rot90 tril triu index index_select gather take
    take_along_dim masked_select scatter scatter_add index_add index_copy
    slice_scatter select_scatter diagonal_scatter constant_pad_nd pad reflection_pad1d
    reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    _pad_circular convolution _convolution mkldnn_convolution cudnn_convolution
    avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d upsample_bilinear2d
    upsample_trilinear3d upsample_bicubic2d pixel_shuffle pixel_unshuffle im2col col2im real imag
    view_as_real view_as_complex _to_copy to _fft_r2c _fft_c2r _fft_c2c movedim swapaxes
    _conj positive zeros_like ones_like empty_like new_zeros channel_shuffle
    index_put resolve_conj resolve_neg detach_copy lift
    unsafe_split unsafe_chunk broadcast_to view_as expand_as ravel flatten unflatten
    """.split()
)

# linear as long as gradients flow to one of its factors only
PRODUCTS = frozenset("mul bmm mm addmm addbmm baddbmm addmv dot matmul linear einsum".split())

NORMS_IN_EVALUATION = {
    "native_batch_norm": 5,  # where its `training` stands
    "cudnn_batch_norm": 5,
    "miopen_batch_norm": 5,
    "_native_batch_norm_legit": 5,
    "_native_batch_norm_legit_no_training": None,
    "batch_norm": 5,
}


def is_linear(name: str, args: tuple[Any, ...], live: tuple[bool, ...]) -> bool:
    """Whether the operation is linear in those of its tensors that are `live`."""
    if name in ALWAYS:
        return True
    if name in PRODUCTS:
        return sum(live) == 1 or (name.startswith("add") and sum(live[1:]) <= 1)
    if name == "div":  # by something else than what gradients flow to
        return not any(live[1:])
    if name in NORMS_IN_EVALUATION:
        place = NORMS_IN_EVALUATION[name]
        return place is None or not args[place]
    return False
