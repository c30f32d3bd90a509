"""What turns the Debian root into a Vagrant machine: login, network, boot, the first answer."""

from __future__ import annotations

from pytest_vmvc.subjects.disk import ROOT_DEVICE

ANSWER_PORT = "org.vmvc.answer"
"""Name of the virtio-serial port that the host's nonce comes in by and goes back out by."""

PUBLIC_KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEF"
    "HzD8+v1I2YJ6oXevct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D"
    "8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZ"
    "EnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRdK8jlqm8tehUc9c9W"
    "hQ== vagrant insecure public key"
)
"""The public half of the key pair that Vagrant ships for boxes; `vagrant up` replaces it."""

# A device unit, not a target, starts the payload: without the port it would hold up the boot.
# `$$` is systemd's way to write a dollar sign.
PAYLOAD_UNIT = rf"""[Unit]
Description=First answer to the host: the nonce that came in goes back out
BindsTo=dev-virtio\x2dports-{ANSWER_PORT}.device
After=dev-virtio\x2dports-{ANSWER_PORT}.device

[Service]
ExecStart=/bin/sh -c 'exec 3<>/dev/virtio-ports/{ANSWER_PORT}; \
    read -r nonce <&3; echo "vmvc:nonce $$nonce" >&3; exec sleep infinity'

[Install]
WantedBy=dev-virtio\x2dports-{ANSWER_PORT}.device
"""

# Run by mmdebstrap with the root as $1. The ssh host keys stay those of the build: making new ones
# at first boot would be charged to the boot, and with a public login key they guard nothing.
CUSTOMIZE = rf"""set -eu
root=$1
kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
version=${{kernel#vmlinuz-}}
test -e "$root/boot/initrd.img-$version"
echo vmvc > "$root/etc/hostname"
printf '127.0.0.1 localhost vmvc\n' > "$root/etc/hosts"
echo '{ROOT_DEVICE} / ext4 defaults 0 1' > "$root/etc/fstab"
mkdir -p "$root/etc/systemd/network" "$root/boot/grub"
cat > "$root/etc/systemd/network/80-dhcp.network" <<'END'
[Match]
Name=e*

[Network]
DHCP=ipv4

[DHCPv4]
ClientIdentifier=mac
END
cat > "$root/boot/grub/grub.cfg" <<END
linux /boot/$kernel root={ROOT_DEVICE} ro quiet console=ttyS0
initrd /boot/initrd.img-$version
boot
END
chroot "$root" useradd --create-home --shell /bin/bash --password '*' vagrant
echo 'vagrant ALL=(ALL) NOPASSWD:ALL' > "$root/etc/sudoers.d/vagrant"
chmod 0440 "$root/etc/sudoers.d/vagrant"
mkdir -m 0700 "$root/home/vagrant/.ssh"
echo '{PUBLIC_KEY}' > "$root/home/vagrant/.ssh/authorized_keys"
chmod 0600 "$root/home/vagrant/.ssh/authorized_keys"
chroot "$root" chown -R vagrant:vagrant /home/vagrant/.ssh
echo 'PasswordAuthentication no' > "$root/etc/ssh/sshd_config.d/vmvc.conf"
cat > "$root/etc/systemd/system/vmvc-payload.service" <<'END'
{PAYLOAD_UNIT}END
chroot "$root" systemctl enable systemd-networkd ssh vmvc-payload
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer; do
    chroot "$root" systemctl disable "$unit" || true
done
"""
