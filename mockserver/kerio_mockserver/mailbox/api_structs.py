"""The documented structs: their members and default values.

Everything that leaves the mailbox has every documented member, except the write-only ones. A struct from a client is
taken member by member: unknown members are dropped, and a member of the wrong type is refused with `BadStruct`, which
names it. The first value of an enumeration stands for "not set".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

Struct = dict[str, Any]


class BadStruct(ValueError):
    """A struct with a member of the wrong type or value; the text names the member."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member; access is rw, ro (read-only), w1 (on creation) or wo (write-only)."""

    name: str
    type: str
    access: str


_STRUCTS = """
Mail: id:str:ro folderId:str watermark:int from:EMail sender:EMail to:EMail[] cc:EMail[] bcc:EMail[] sendDate:str
  receiveDate:str modifiedDate:str replyTo:EMail[] notificationTo:EMail subject:str priority:PriorityType size:int
  isSeen:bool isAnswered:bool isFlagged:bool isForwarded:bool isJunk:bool isMDNSent:bool showExternal:bool
  requestDSN:bool hasAttachment:bool:ro isDraft:bool:ro isReadOnly:bool:ro signInfo:SignInfo:ro
  encryptInfo:EncryptInfo:ro displayableParts:DisplayableMimePart[] attachments:Attachment[] headers:MimeHeader[]
  send:bool:wo sign:bool:wo encrypt:bool:wo
Contact: id:str folderId:str watermark:int type:ContactType commonName:str firstName:str middleName:str surName:str
  titleBefore:str titleAfter:str nickName:str phoneNumbers:PhoneNumber[] emailAddresses:EmailAddress[]
  postalAddresses:PostalAddress[] urls:Url[] birthDay:str anniversary:str companyName:str departmentName:str
  profession:str managerName:str assistantName:str comment:str IMAddress:str photo:PhotoAttachment categories:str[]
  certSourceId:str:wo isGalContact:bool:ro
Event: id:str:ro folderId:str:w1 watermark:int access:EventAccess:ro summary:str location:str description:str
  label:EventLabel categories:str[] start:str end:str travelMinutes:int freeBusy:FreeBusyStatus isPrivate:bool
  isAllDay:bool priority:PriorityType rule:RecurrenceRule attendees:Attendee[] reminder:Reminder isCancelled:bool:ro
Task: id:str:ro folderId:str:w1 watermark:int access:EventAccess:ro summary:str location:str description:str
  status:TaskStatus start:str due:str end:str:ro done:int priority:PriorityType rule:RecurrenceRule
  attendees:Attendee[] reminder:Reminder sortOrder:int isPrivate:bool isCancelled:bool:ro
Note: id:str:ro folderId:str:w1 watermark:int color:NoteColor text:str position:NotePosition createDate:str:ro
  modifyDate:str:ro
Folder: id:str:ro parentId:str name:str ownerName:str:ro emailAddress:str:ro type:FolderType subType:FolderSubType:ro
  placeType:FolderPlaceType:ro access:FolderAccess:ro isShared:bool:ro isDelegated:bool:ro nestingLevel:int:ro
  messageCount:int:ro messageUnread:int:ro messageSize:int:ro checked:bool color:str published:bool:ro
Change: isFolder:bool type:ChangeType itemType:ItemType itemId:str parentId:str origId:str origParentId:str
  watermark:int messageUnread:int
QuotaInfo: messagesLimit:int messagesUsed:int spaceLimit:int spaceUsed:int percentLimitForWarning:int
SharedMailbox: principal:Principal mailboxId:str isLoaded:bool folders:Folder[] subscribedFolderIds:str[]
Principal: id:str type:PrincipalType displayName:str mailAddress:str
EMail: name:str address:str contactId:str:w1
SignInfo: isSigned:bool isValid:bool error:LocalizableMessage cert:Certificate
EncryptInfo: isEncrypted:bool result:DecryptResult error:LocalizableMessage
LocalizableMessage: message:str positionalParameters:str[] plurality:int
Certificate:
DisplayableMimePart: id:str:ro contentType:DisplayableContentType content:str
Attachment: id:str url:str:ro name:str:w1 contentType:str:w1 contentId:str:w1 size:int:ro
MimeHeader: type:MimeHeaderType value:str
PhoneNumber: type:PhoneNumberType number:str extension:ABExtension
EmailAddress: address:str name:str preferred:bool isValidCertificate:bool type:EmailAddressType refId:str
  extension:ABExtension
PostalAddress: preferred:bool pobox:str extendedAddress:str street:str locality:str state:str zip:str country:str
  label:str type:PostalAddressType extension:ABExtension
Url: type:UrlType url:str extension:ABExtension
ABExtension: groupId:str label:str
PhotoAttachment: id:str url:str:ro
RecurrenceRule: isSet:bool frequency:FrequencyType endBy:EndBy preciseBy:PreciseBy
EndBy: type:EndByType date:str
PreciseBy: byDay:int[] byMonthDay:int[] byMonth:int[] byPosition:int[] byInterval:int
Attendee: displayName:str emailAddress:str role:AttendeeRole isNotified:bool:ro partStatus:PartStatus:ro
Reminder: isSet:bool type:ReminderType minutesBeforeStart:int date:str
NotePosition: xOffset:int yOffset:int xSize:int ySize:int
"""

_ENUMS = """
PriorityType: Normal Low High
ContactType: ctContact ctDistributionList
PhoneNumberType: TypeAssistant TypeWorkVoice TypeWorkFax TypeCallback TypeCar TypeCompany TypeHomeVoice TypeHomeFax
  TypeIsdn TypeMobile TypeOtherVoice TypeOtherFax TypePager TypePrimary TypeRadio TypeTelex TypeTtyTdd TypeCustom
EmailAddressType: EmailWork EmailHome EmailOther EmailCustom RefContact RefDistributionList
PostalAddressType: AddressHome AddressWork AddressOther AddressCustom
UrlType: UrlHome UrlWork UrlOther UrlCustom
EventAccess: EAccessCreator EAccessInvitee EAccessReadOnly
EventLabel: None Important Business Personal Vacation MustAttend TravelRequired NeedsPreparation BirthDay Anniversary
  PhoneCall
FreeBusyStatus: Busy Tentative Free OutOfOffice NotAvailable
FrequencyType: Daily Weekly Monthly Yearly
EndByType: ByRecurrenceNever ByRecurrenceDate
AttendeeRole: RoleOrganizer RoleRequiredAttendee RoleOptionalAttendee RoleRoom RoleEquipment
PartStatus: PartNotResponded PartAccepted PartDeclined PartDelegated PartTentative
ReminderType: ReminderRelative ReminderAbsolute
TaskStatus: tsNotStarted tsCompleted tsInProgress tsWaiting tsDeferred
NoteColor: White Yellow Pink Green Blue
FolderType: FRoot FMail FContact FCalendar FTask FNote
FolderSubType: FSubNone FSubInbox FSubDrafts FSubSentItems FSubDeletedItems FSubJunkEmail FSubDefault FSubGalResources
  FSubGalContacts
FolderPlaceType: FPlaceMailbox FPlaceResources FPlaceLocations FPlacePeople FPlacePublic FPlaceArchive
FolderAccess: FAccessListingOnly FAccessReadOnly FAccessReadWrite FAccessAdmin
PrincipalType: ptUser ptResource ptGroup ptDomain ptAnonymous ptAuthUser
DecryptResult: DecryptSuccesful DecryptNoKey DecryptError
DisplayableContentType: ctTextPlain ctTextHtml
MimeHeaderType: mhMessageID mhInReplayTo mhResentMessageID
ChangeType: chtCreated chtCopied chtDeleted chtModified chtMoved chtNewMail chtStatus chtReadFlagChanged
  chtModifiedMetadata chtModifiedContent
ItemType: itMail itCalendar itContact itTask itNote itCalendarInbox itDelegation
"""


def _member(spec: str) -> Member:
    name, kind, *access = spec.split(":")
    return Member(name, kind, access[0] if access else "rw")


def _table(text: str) -> dict[str, list[str]]:
    lines = text.replace("\n  ", " ").strip().splitlines()
    return {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}


STRUCTS: dict[str, tuple[Member, ...]] = {
    name: tuple(_member(spec) for spec in specs) for name, specs in _table(_STRUCTS).items()
}
ENUMS: dict[str, tuple[str, ...]] = {name: tuple(values) for name, values in _table(_ENUMS).items()}
ITEM_STRUCTS = {"mail": "Mail", "contact": "Contact", "event": "Event", "task": "Task", "note": "Note"}
_SCALARS: dict[str, type] = {"str": str, "int": int, "bool": bool}


@cache
def members(name: str) -> dict[str, Member]:
    """Return the members of a struct that are sent, by name."""
    return {member.name: member for member in STRUCTS[name] if member.access != "wo"}


def blank(kind: str) -> Any:
    """Return a new default value: "", [], 0, False, or an enumeration's first value."""
    if kind.endswith("[]"):
        return []
    if kind in _SCALARS:
        return _SCALARS[kind]()
    if kind in ENUMS:
        return ENUMS[kind][0]
    return {name: blank(member.type) for name, member in members(kind).items()}


def complete(kind: str, value: Any, where: str = "") -> Any:
    """Return `value` as a documented type, with defaults for missing members.

    Unknown members are dropped. Raise BadStruct for invalid ones.
    """
    where = where or kind
    if kind.endswith("[]"):
        if not isinstance(value, list):
            raise BadStruct(f"{where} must be a list")
        return [complete(kind[:-2], element, f"{where}[{index}]") for index, element in enumerate(value)]
    if kind in STRUCTS:
        if not isinstance(value, dict):
            raise BadStruct(f"{where} must be an object")
        return {
            name: complete(member.type, value[name], f"{where}.{name}") if name in value else blank(member.type)
            for name, member in members(kind).items()
        }
    return _scalar(kind, value, where)


def _scalar(kind: str, value: Any, where: str) -> Any:
    if kind in ENUMS:
        if value == "":
            return blank(kind)
        if value not in ENUMS[kind]:
            raise BadStruct(f"{where} must be one of {kind}")
    elif kind == "str" and isinstance(value, str):
        # UTF-8, and therefore JSON, cannot encode a lone surrogate
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    elif not isinstance(value, _SCALARS[kind]) or (kind == "int" and isinstance(value, bool)):
        raise BadStruct(f"{where} must be {kind}")
    return value
