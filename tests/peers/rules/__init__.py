# SPDX-License-Identifier: LGPL-2.1-or-later
"""Placement rules of others, each written anew from what its documentation says. Every file names the pages it follows."""
from rules import floating, kubevirt, least_loaded, nova, numad, ovirt, round_robin, vbmq

ALL = (vbmq.Given, vbmq.Places, vbmq.HalfShared, nova.Unset, nova.Share, nova.Isolate, kubevirt.Pool, kubevirt.Isolate, kubevirt.Auto,
       ovirt.HighPerformance, least_loaded.LeastLoadedL3, numad.Numad, round_robin.RoundRobin, floating.Floating)
