"""The desired state: proxies, faults and partitions, as frozen values.

A value of these classes is complete and valid. YAML, REST and scenarios are all converted
to one of them before anything is changed.
"""

from chaosproxy.model.address import Address
from chaosproxy.model.control import ControlLimits, ControlSpec
from chaosproxy.model.fault import FaultSpec, read_fault, write_fault
from chaosproxy.model.partition import PartitionSpec, read_partition, write_partition
from chaosproxy.model.placement import Placement
from chaosproxy.model.proxy import ProxySpec, read_proxy, write_proxy
from chaosproxy.model.settings import Config, PolicySpec, read_config, write_config

__all__ = [
    "Address",
    "Config",
    "ControlLimits",
    "ControlSpec",
    "FaultSpec",
    "PartitionSpec",
    "Placement",
    "PolicySpec",
    "ProxySpec",
    "read_config",
    "read_fault",
    "read_partition",
    "read_proxy",
    "write_config",
    "write_fault",
    "write_partition",
    "write_proxy",
]
