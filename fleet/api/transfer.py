"""How fast artifacts go to the fleet."""

from ninja import Router

from fleet.accounts.roles import Role
from fleet.api.auth import allow
from fleet.api.schemas import Problem, TransferLimit
from fleet.gateway import limits

router = Router(tags=["transfer"])


@router.get("/transfer", response=TransferLimit)
def limit(request):
    return {"bytes_per_second": limits.fleet_rate()}


@router.put("/transfer", response={200: TransferLimit, 409: Problem}, auth=allow(Role.OPERATOR))
def set_limit(request, body: TransferLimit):
    """Takes effect within seconds, also for what is under way. A device's own limit is a setting of the device."""
    limits.set_fleet_rate(body.bytes_per_second, request.user)
    return limit(request)
