"""`manage.py keys`: the keys behind what devices trust."""

from datetime import datetime
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from fleet.errors import Refused
from fleet.trust import keys, repository, services
from fleet.trust.keys import SHORT
from fleet.trust.models import Metadata, Target


class Command(BaseCommand):
    help = (
        "Shows the keys of the release metadata and when what they signed expires; or changes them. A change of the "
        "root takes effect at once where enough of its keys lie here; else --export writes what is to be signed "
        "elsewhere (`sign`), and `import` brings it back."
    )
    requires_system_checks = ()

    def add_arguments(self, parser):
        does = parser.add_subparsers(dest="do")
        does.add_parser("show", help="roles, keys, expiry (as without a word)")
        create = does.add_parser("create", help="a new root key for elsewhere: FILE (keep it offline) and FILE.pub")
        create.add_argument("file", type=Path)
        add = does.add_parser("add", help="one more key for the root")
        add.add_argument("file", type=Path, help="FILE.pub of `create`")
        rotate = does.add_parser("rotate", help="replace keys that lie here by new ones")
        rotate.add_argument("kind", choices=["root", *repository.ONLINE])
        revoke = does.add_parser("revoke", help="trust a key no more; an online one is replaced")
        revoke.add_argument("key", help="the beginning of its id")
        threshold = does.add_parser("threshold", help="how many keys have to sign a root")
        threshold.add_argument("number", type=int)
        renew = does.add_parser("renew", help="the same root, valid for another year")
        for each in (add, rotate, revoke, threshold, renew):
            each.add_argument("--export", type=Path, metavar="FILE", help="where to write what is to be signed")
        sign = does.add_parser("sign", help="sign an exported root with a key; needs neither server nor database")
        sign.add_argument("file", type=Path)
        sign.add_argument("--key", type=Path, required=True, help="the private key's file")
        import_ = does.add_parser("import", help="put a root in force that was signed elsewhere")
        import_.add_argument("file", type=Path)

    def handle(self, **given):
        try:
            getattr(self, f"_{given['do'] or 'show'}")(given)
        except (Refused, OSError) as problem:
            raise CommandError(str(problem)) from problem

    # --- Looking ---

    def _show(self, _given):
        services.ensure()
        now = timezone.now()
        root = repository.read_root(bytes(services.root().body)).signed
        here = {**keys.here("root"), **keys.here("online")}
        self.stdout.write(f"{'role':<11}{'version':<11}{'expires':<12}{'needs':<7}keys")
        for role in ("root", "targets", "snapshot", "timestamp"):
            newest = Metadata.objects.filter(role=role).last()
            held = root.roles[role]
            shown = [f"{keyid[:SHORT]}{'' if keyid in here else ' (elsewhere)'}" for keyid in held.keyids]
            expired = "  EXPIRED" if newest.expires_at < now else ""
            self.stdout.write(
                f"{role:<11}{newest.version:<11}{newest.expires_at:%Y-%m-%d}  "
                f"{held.threshold} of {len(held.keyids)} {', '.join(shown)}{expired}"
            )
        self.stdout.write(f"\n{Target.objects.count()} manifests are vouched for. Private keys: {keys.folder('root')}")
        self.stdout.write(f"(may be taken away) and {keys.folder('online')} (needed for every release).")

    # --- Changing ---

    def _create(self, given):
        signer = keys.make(given["file"])
        public = given["file"].with_name(given["file"].name + ".pub")
        public.write_bytes(repository.public_bytes(signer.public_key))
        self.stdout.write(f"Key {signer.public_key.keyid[:SHORT]}: {given['file']} (secret), {public} (for `add`).")

    def _add(self, given):
        key = repository.read_public(given["file"].read_bytes())
        self._change(given, lambda root: root.add_key(key, "root"))

    def _rotate(self, given):
        if given["kind"] in repository.ONLINE:
            new = keys.make_in("online").public_key
            return self._change(given, lambda root: repository.replace_online(root, given["kind"], new))
        root = repository.read_root(bytes(services.root().body)).signed
        old = [keyid for keyid in keys.here("root") if keyid in root.roles["root"].keyids]
        if not old:
            raise Refused("None of the root's keys lies here. Make one elsewhere with `create`, then `add` it.")
        new_keys = [keys.make_in("root").public_key for _ in old]

        def change(root):
            for keyid, key in zip(old, new_keys, strict=True):
                root.add_key(key, "root")
                root.revoke_key(keyid, "root")

        return self._change(given, change)

    def _revoke(self, given):
        root = repository.read_root(bytes(services.root().body)).signed
        keyid = repository.whole_id(root, given["key"])
        kinds = [kind for kind, roles in repository.ONLINE.items() if keyid in root.roles[roles[0]].keyids]
        if kinds:
            new = keys.make_in("online").public_key
            return self._change(given, lambda root: repository.replace_online(root, kinds[0], new))
        return self._change(given, lambda root: root.revoke_key(keyid, "root"))

    def _threshold(self, given):
        def change(root):
            root.roles["root"].threshold = given["number"]

        if given["number"] < 1:
            raise Refused("At least one key has to sign.")
        self._change(given, change)

    def _renew(self, given):
        self._change(given, lambda root: None)

    def _change(self, given, change):
        body, lacking = services.propose(change)
        version = repository.read_root(body).signed.version
        if not lacking:
            return self._done(version)
        if given["export"] is None:
            raise Refused(f"{' '.join(lacking)} Say --export FILE to write what is to be signed.")
        given["export"].write_bytes(body)
        return self.stdout.write(
            f"{' '.join(lacking)}\nNothing has changed yet. Where the key is: manage.py keys sign {given['export']} "
            f"--key KEY\nThen here: manage.py keys import {given['export']}"
        )

    def _sign(self, given):
        proposal = repository.read_root(given["file"].read_bytes())
        signer = keys.read(given["key"])
        repository.sign(proposal, [signer])
        given["file"].write_bytes(repository.as_bytes(proposal))
        root = proposal.signed
        self.stdout.write(
            f"Signed root {root.version}, valid until {root.expires:%Y-%m-%d}, with {signer.public_key.keyid[:SHORT]}. "
            f"Its keys: {', '.join(keyid[:SHORT] for keyid in root.roles['root'].keyids)}; "
            f"{root.roles['root'].threshold} have to sign."
        )

    def _import(self, given):
        self._done(services.install_root(given["file"].read_bytes()))

    def _done(self, version: int):
        at = datetime.now().astimezone()
        self.stdout.write(f"Root {version} is in force since {at:%H:%M}; devices take it with their next update.")
