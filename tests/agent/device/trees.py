"""File trees as boards show them, shortened to what the agent reads."""

from pathlib import Path

Tree = dict[str, str]


def write(root: Path, *trees: Tree) -> Path:
    """Put trees below `root`; a later one overwrites an earlier one."""
    for tree in trees:
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return root


def _arm_cpuinfo(cores: int) -> str:
    return "".join(
        f"processor\t: {number}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\n"
        for number in range(cores)
    )


def _x86_cpuinfo(sockets: int, cores: int, threads: int) -> str:
    blocks = []
    for _ in range(threads):
        for socket in range(sockets):
            for core in range(cores):
                number = len(blocks)
                blocks.append(
                    f"processor\t: {number}\nvendor_id\t: GenuineIntel\nphysical id\t: {socket}\n"
                    f"siblings\t: {cores * threads}\ncore id\t\t: {core}\ncpu cores\t: {cores}\n"
                )
    return "\n".join(blocks)


RASPBERRY_PI_4: Tree = {
    "proc/cpuinfo": _arm_cpuinfo(4) + "Hardware\t: BCM2835\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    "proc/meminfo": "MemTotal:        3884396 kB\nMemFree:          118284 kB\nMemAvailable:    3000000 kB\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
    "sys/class/thermal/thermal_zone0/temp": "48199\n",
    "sys/class/video4linux/video0/name": "mmal service 16.1\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids\n",
    "proc/self/cgroup": "0::/system.slice/edge-agent.service\n",
    "sys/fs/cgroup/system.slice/edge-agent.service/memory.max": "max\n",
    "sys/fs/cgroup/system.slice/edge-agent.service/cpu.max": "max 100000\n",
}

JETSON_ORIN_NANO: Tree = {
    "proc/cpuinfo": _arm_cpuinfo(6),
    "proc/meminfo": "MemTotal:        7802084 kB\n",
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
    "sys/class/thermal/thermal_zone0/temp": "49812\n",
    "sys/class/thermal/thermal_zone8/temp": "51093\n",
    "sys/class/thermal/thermal_zone9/temp": "-256000\n",
    "sys/class/hwmon/hwmon1/name": "ina3221\n",
    "sys/class/hwmon/hwmon1/in1_input": "5000\n",
    "sys/class/hwmon/hwmon1/curr1_input": "1240\n",
    "sys/class/hwmon/hwmon1/in2_input": "4992\n",
    "sys/class/hwmon/hwmon1/curr2_input": "400\n",
}

INDUSTRIAL_PC: Tree = {
    "proc/cpuinfo": _x86_cpuinfo(sockets=1, cores=8, threads=2),
    "proc/meminfo": "MemTotal:       32594588 kB\n",
    "sys/class/dmi/id/sys_vendor": "ADLINK Technology Inc.\n",
    "sys/class/dmi/id/product_name": "MVP-6100\n",
    "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX A2000\nIRQ:   \t\t 144\n",
    "dev/nvidia0": "",
    "sys/bus/usb/devices/1-2/idVendor": "1a6e\n",
    "sys/bus/usb/devices/1-2/idProduct": "089a\n",
    "sys/class/hwmon/hwmon2/temp1_input": "41000\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "1000000\n",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "500000\n",
}

LAPTOP_ON_BATTERY: Tree = {
    "proc/cpuinfo": _x86_cpuinfo(sockets=1, cores=4, threads=2),
    "proc/meminfo": "MemTotal:       16000000 kB\n",
    "sys/class/power_supply/BAT0/status": "Discharging\n",
    "sys/class/power_supply/BAT0/power_now": "8750000\n",
}

DOCKER_V2: Tree = {
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "proc/self/cgroup": "0::/\n",
    "sys/fs/cgroup/memory.max": str(2 * 1024**3) + "\n",
    "sys/fs/cgroup/memory.current": "900000000\n",
    "sys/fs/cgroup/memory.stat": "anon 300000000\ninactive_file 500000000\n",
    "sys/fs/cgroup/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
}

DOCKER_V1: Tree = {
    "proc/self/cgroup": "12:cpu,cpuacct:/docker/4f0c\n8:memory:/docker/4f0c\n1:name=systemd:/docker/4f0c\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": str(3 * 1024**3) + "\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "700000000\n",
    "sys/fs/cgroup/memory/memory.stat": "cache 100\ntotal_inactive_file 200000000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage": "7000000000\n",
}

UNLIMITED_V1: Tree = {
    "proc/self/cgroup": "8:memory:/\n3:cpu:/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "700000000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
