"""What an artifact says of its kernels, and where its time is expected to go."""

from __future__ import annotations

from typing import Any


def failed_rules(kernel: dict[str, Any]) -> list[str]:
    """A line for each rule that failed to schedule a kernel of the manifest."""
    return [
        f"{kernel['name']}: rule {rule} failed, {kernel['rule']} is used: {reason}"
        for rule, reason in kernel.get("failed_rules", {}).items()
    ]


def tuned_lines(manifest: dict[str, Any]) -> list[str]:
    """What tuning records decided, in a line; none if they decided nothing."""
    kernels, choices = manifest["kernels"], len(manifest.get("choices", {}))
    tuned = sum("tuned" in kernel for kernel in kernels)
    if not tuned and not choices:
        return []
    parts = [f"{tuned} of {len(kernels)} kernels"]
    if choices:
        parts.append(f"{choices} {'choice' if choices == 1 else 'choices'} of graph passes")
    estimated = sum("estimated" in kernel for kernel in kernels)
    how = f"; {estimated} of them by estimates, never measured" if estimated else ""
    return [f"tuned: {', '.join(parts)}, as tuning records say{how}"]


def describe_kernels(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifest's kernels, those first that all their calls together are estimated to take longest.

    Added keys: `bytes_read`, and `share` of the estimated time of all kernels, from 0 to 1.
    """
    kernels = manifest["kernels"]
    total = sum(kernel["calls"] * kernel["estimated_seconds"] for kernel in kernels)
    described = [
        {
            **kernel,
            "bytes_read": kernel["bytes"] - kernel["bytes_written"],
            "share": kernel["calls"] * kernel["estimated_seconds"] / total,
        }
        for kernel in kernels
    ]
    return sorted(described, key=lambda kernel: (-kernel["share"], kernel["name"]))
