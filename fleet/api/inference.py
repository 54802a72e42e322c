"""The server's own inference: who uses it, how much, how fast, and what was refused."""

from django.utils import timezone
from ninja import Router
from ninja.pagination import paginate

from fleet.api.inference_schemas import InferenceOut, InferenceUserOut
from fleet.api.lists import Paged
from fleet.inference import usage

router = Router(tags=["inference"])


class _Summed(Paged):
    def paginate_queryset(self, queryset, pagination, **params):
        page = super().paginate_queryset(queryset, pagination, **params)
        page["items"] = [{"device": row["device"], "used": usage.used(row)} for row in page["items"]]
        return page


@router.get("/inference", response=InferenceOut)
def inference(request):
    """The last 24 hours of all devices together, and the quotas."""
    now = timezone.now()
    used, devices = usage.total(now)
    return {"used": used, "devices": devices, "bytes_today": usage.today(now), "limits": usage.limits()}


@router.get("/inference/devices", response=list[InferenceUserOut])
@paginate(_Summed)
def devices(request):
    """The last 24 hours of each device that asked, the busiest first; an empty id is whoever had no valid login."""
    return usage.by_device().order_by("-requests_", "device")
