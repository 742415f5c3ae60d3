PRAGMA application_id = 1263686467;
PRAGMA user_version = 70200;
BEGIN TRANSACTION;
CREATE TABLE attachment (
  number       INTEGER PRIMARY KEY,
  item         INTEGER NOT NULL REFERENCES item (number) ON DELETE CASCADE,
  ordinal      INTEGER NOT NULL, -- its place in the item, from 0
  role         TEXT NOT NULL,    -- attachment (of a mail), photo (of a contact)
  id           TEXT NOT NULL,
  url          TEXT NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  content_id   TEXT NOT NULL,
  size         INTEGER,          -- the server's figure; NULL: none
  state        TEXT NOT NULL CHECK (state IN ('wanted', 'done', 'omitted', 'failed')),
  reason       TEXT NOT NULL DEFAULT '',  -- why it is omitted or failed
  etag         TEXT NOT NULL DEFAULT '',
  received     INTEGER NOT NULL DEFAULT 0,  -- bytes stored from the start, without a gap
  sha256       BLOB,             -- of the complete attachment
  UNIQUE (item, ordinal)
) STRICT;
INSERT INTO "attachment" VALUES(1,1,0,'attachment','att-done','/webmail/api/download/attachment/done','done.pdf','application/pdf','cid-done',12,'done','','etag-1',12,X'7417B12D323EA565A5004E2A58FFD42628BE14D432CED20C3CF59578D9158887');
INSERT INTO "attachment" VALUES(3,2,0,'attachment','att-omitted','/webmail/api/download/attachment/omitted','omitted.pdf','application/pdf','cid-omitted',7,'omitted','policy','',0,NULL);
INSERT INTO "attachment" VALUES(4,2,1,'attachment','att-failed','/webmail/api/download/attachment/failed','failed.pdf','application/pdf','cid-failed',8,'failed','The server refused it.','',0,NULL);
INSERT INTO "attachment" VALUES(5,2,2,'attachment','att-empty','/webmail/api/download/attachment/empty','empty.pdf','application/pdf','cid-empty',0,'done','','',0,X'E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855');
INSERT INTO "attachment" VALUES(6,6,0,'attachment','att-moved','/webmail/api/download/attachment/moved','moved.pdf','application/pdf','cid-moved',9,'done','','',9,X'932A993E670F62580F00736C23354B0E15D5E894C33D448565C263B4791437D5');
INSERT INTO "attachment" VALUES(7,8,0,'photo','photo-1','/webmail/api/download/photo/1','','','',NULL,'done','','',10,X'512C24526431F84592350D1F20283CAB81E31F51C0B1D742714F27435BB32090');
INSERT INTO "attachment" VALUES(8,1,1,'attachment','att-part','/webmail/api/download/attachment/part','part.pdf','application/pdf','cid-part',100,'wanted','','etag-2',6,NULL);
INSERT INTO "attachment" VALUES(9,16,0,'attachment','local:00000008-0000-4000-8000-000000000000/0','','c.bin','application/octet-stream','',40,'done','','',40,X'5FAA4EEC3611556812C2D74B437C8C49ADD3F910F10063D801441F7D75CD5E3B');
CREATE TABLE chunk (             -- the content of an attachment, at most 256 KiB each
  attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;
INSERT INTO "chunk" VALUES(1,0,1329058522,X'636F6E7465');
INSERT INTO "chunk" VALUES(1,5,654227362,X'6E7420646F6E65');
INSERT INTO "chunk" VALUES(6,0,1140405807,X'6E696E652062797465');
INSERT INTO "chunk" VALUES(7,0,3813336784,X'89504E472070686F746F');
INSERT INTO "chunk" VALUES(8,0,3688955266,X'612070617274');
INSERT INTO "chunk" VALUES(9,0,228994620,X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F2021222324252627');
CREATE TABLE folder (
  number    INTEGER PRIMARY KEY, -- referenced by items
  id        TEXT NOT NULL UNIQUE,
  parent_id TEXT NOT NULL,
  name      TEXT NOT NULL,
  path      TEXT NOT NULL,       -- names from the top, joined by '/'; a '/' within a name is written '\/'
  kind      TEXT CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),  -- NULL: it holds no items
  role      TEXT NOT NULL,       -- none, inbox, drafts, sent, trash, junk, default, resources, people
  place     TEXT NOT NULL,       -- own, shared, public
  owner     TEXT NOT NULL,
  readable  INTEGER NOT NULL,
  count     INTEGER NOT NULL,    -- the server's figures when it listed the folders
  unread    INTEGER NOT NULL,
  size      INTEGER NOT NULL,
  payload   TEXT NOT NULL,       -- the server's struct, canonical JSON
  extra     TEXT,                -- members that the vendor's reference does not name
  rank      INTEGER NOT NULL,    -- lower is fetched earlier
  position  BLOB,                -- where the listing of its items resumes; NULL: at the start
  listed    INTEGER NOT NULL DEFAULT 0,  -- 1: the listing is complete
  standing  TEXT NOT NULL CHECK (standing IN ('server', 'local', 'unknown'))
                                 -- local: exists only here; unknown: a placeholder until the server lists it
) STRICT;
INSERT INTO "folder" VALUES(1,'root','','~jane@example.com','~jane@example.com',NULL,'none','own','',1,0,0,0,'{"id":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(2,'inbox','root','Inbox','Inbox','mail','inbox','own','',1,6,2,4000,'{"id":"inbox","name":"Inbox","parentId":"root"}',NULL,0,X'7B227365656E223A332C227461696C223A5B226D61696C2D31225D2C22737465705F6261636B223A302C227061676573223A312C227769647468223A332C22646F6E65223A66616C73652C226D61726B223A22222C226379636C6573223A307D',0,'server');
INSERT INTO "folder" VALUES(3,'a/b','root','A/B','A\/B','mail','none','own','',1,0,0,0,'{"id":"a/b","name":"A/B","parentId":"root"}','{"newer":1}',10,NULL,1,'server');
INSERT INTO "folder" VALUES(4,'team','root','Team','Team','mail','none','public','info@example.com',1,0,0,0,'{"id":"team","name":"Team","parentId":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(5,'people','root','People','People','contact','default','own','',1,0,0,0,'{"id":"people","name":"People","parentId":"root"}',NULL,5,NULL,1,'server');
INSERT INTO "folder" VALUES(6,'calendar','root','Calendar','Calendar','event','default','own','',1,0,0,0,'{"id":"calendar","name":"Calendar","parentId":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(7,'tasks','root','Tasks','Tasks','task','default','own','',1,0,0,0,'{"id":"tasks","name":"Tasks","parentId":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(8,'notes','root','Notes','Notes','note','default','own','',1,0,0,0,'{"id":"notes","name":"Notes","parentId":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(9,'locked','root','Locked','Locked','mail','none','own','',0,0,0,0,'{"id":"locked","name":"Locked","parentId":"root"}',NULL,100,NULL,0,'server');
INSERT INTO "folder" VALUES(10,'nowhere','','','? nowhere',NULL,'none','own','',1,0,0,0,'{}',NULL,100,NULL,0,'unknown');
INSERT INTO "folder" VALUES(11,'local:conflicts','','Conflicts','Conflicts',NULL,'none','own','',1,0,0,0,'{}',NULL,100,NULL,0,'local');
CREATE TABLE item (
  number     INTEGER PRIMARY KEY,
  id         TEXT NOT NULL UNIQUE,
  folder     INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  kind       TEXT NOT NULL CHECK (kind IN ('mail', 'contact', 'event', 'task', 'note')),
  watermark  INTEGER NOT NULL,   -- the item's version on the server
  date       TEXT,               -- received, starts, due, modified
  "end"      TEXT,
  seen       INTEGER NOT NULL,
  flagged    INTEGER NOT NULL,
  answered   INTEGER NOT NULL,
  draft      INTEGER NOT NULL,
  size       INTEGER NOT NULL,
  title      TEXT NOT NULL,      -- subject, summary, name, a note's first line
  who        TEXT NOT NULL,      -- sender, organiser, a contact's first address
  recipients TEXT NOT NULL,
  message_id TEXT NOT NULL,
  checksum   BLOB NOT NULL,      -- SHA-256 of the row and the list of attachments (checksums.py)
  extra      TEXT,               -- members that the vendor's reference does not name
  payload    TEXT NOT NULL       -- the server's struct, canonical JSON
) STRICT;
INSERT INTO "item" VALUES(1,'mail-1',2,'mail',2,'2026-03-01T09:30:00Z',NULL,0,0,0,0,1001,'Subject 1','Ann <ann@example.com>','jane@example.com','<1@example.com>',X'5D74D875104C8CB6129A835B7A6C7FDF22E76E0F05679580E2843A06F56346C5',NULL,'{"attachments":[{"contentId":"cid-done","contentType":"application/pdf","id":"att-done","name":"done.pdf","size":12,"url":"/webmail/api/download/attachment/done"},{"contentId":"cid-part","contentType":"application/pdf","id":"att-part","name":"part.pdf","size":100,"url":"/webmail/api/download/attachment/part"},{"contentId":"cid-inline","contentType":"application/pdf","id":"att-inline","name":"inline.pdf","size":5,"url":""}],"cc":[],"displayableParts":[{"content":"Grüße\r\nfrom Příliš","contentType":"ctTextPlain","id":"0"},{"content":"<p>Grüße</p>","contentType":"ctTextHtml","id":"1"}],"folderId":"inbox","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<1@example.com>"}],"id":"mail-1","isAnswered":false,"isDraft":false,"isFlagged":false,"isSeen":false,"receiveDate":"20260301T093000Z","size":1001,"subject":"Subject 1","to":[{"address":"jane@example.com","name":""}],"watermark":2}');
INSERT INTO "item" VALUES(2,'mail-2',2,'mail',9007199254740993,'2026-03-02T09:30:00Z',NULL,1,0,0,0,1002,'Subject 2','Ann <ann@example.com>','jane@example.com','<2@example.com>',X'31BD1B4409C2051DA39876DE98F8A491996DB4C5DCF66AB25844B1C55399564B','{"unheardOf":{"x":[1]}}','{"attachments":[{"contentId":"cid-omitted","contentType":"application/pdf","id":"att-omitted","name":"omitted.pdf","size":7,"url":"/webmail/api/download/attachment/omitted"},{"contentId":"cid-failed","contentType":"application/pdf","id":"att-failed","name":"failed.pdf","size":8,"url":"/webmail/api/download/attachment/failed"},{"contentId":"cid-empty","contentType":"application/pdf","id":"att-empty","name":"empty.pdf","size":0,"url":"/webmail/api/download/attachment/empty"}],"cc":[],"displayableParts":[{"content":"<b>only html</b>","contentType":"ctTextHtml","id":"0"}],"folderId":"inbox","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<2@example.com>"}],"id":"mail-2","isAnswered":false,"isDraft":false,"isFlagged":false,"isSeen":true,"receiveDate":"20260302T093000Z","size":1002,"subject":"Subject 2","to":[{"address":"jane@example.com","name":""}],"watermark":9007199254740993}');
INSERT INTO "item" VALUES(3,'mail-3',3,'mail',0,'2026-03-03T09:30:00Z',NULL,0,1,0,0,1003,'Subject 3','Ann <ann@example.com>','jane@example.com','<3@example.com>',X'B10D82AB9538479E0F8E24D1366CC3B13476764E428EBDBF248BD6A64E2C5084',NULL,'{"cc":[],"displayableParts":[],"folderId":"a/b","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<3@example.com>"}],"id":"mail-3","isAnswered":false,"isDraft":false,"isFlagged":true,"isSeen":false,"receiveDate":"20260303T093000Z","size":1003,"subject":"Subject 3","to":[{"address":"jane@example.com","name":""}],"watermark":0}');
INSERT INTO "item" VALUES(4,'mail-4',3,'mail',77,'2026-03-04T09:30:00Z',NULL,1,0,1,0,1004,'Subject 4','Ann <ann@example.com>','jane@example.com','<4@example.com>',X'4C0B27DFE05ED46A86271C316E99C870BBA7E122E1E896556D6F85F3C9EEAF7E',NULL,'{"cc":[],"displayableParts":[{"content":"<i>h</i>","contentType":"ctTextHtml","id":"0"},{"content":"second is plain","contentType":"ctTextPlain","id":"1"}],"folderId":"a/b","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<4@example.com>"}],"id":"mail-4","isAnswered":true,"isDraft":false,"isFlagged":false,"isSeen":true,"receiveDate":"20260304T093000Z","size":1004,"subject":"Subject 4","to":[{"address":"jane@example.com","name":""}],"watermark":77}');
INSERT INTO "item" VALUES(5,'mail-5',4,'mail',5,'2026-03-05T09:30:00Z',NULL,0,0,0,1,1005,'nul in it','Ann <ann@example.com>','jane@example.com','<5@example.com>',X'EFE9A1E442AC313B96E840383EE83621E6815F8A98AB073DB18C7D6967DC9460',NULL,'{"cc":[],"displayableParts":[{"content":"Hello","contentType":"ctTextPlain","id":"0"}],"folderId":"team","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<5@example.com>"}],"id":"mail-5","isAnswered":false,"isDraft":true,"isFlagged":false,"isSeen":false,"receiveDate":"20260305T093000Z","size":1005,"subject":"nul\u0000 in it","to":[{"address":"jane@example.com","name":""}],"watermark":5}');
INSERT INTO "item" VALUES(6,'mail-6-moved',3,'mail',6,'2026-03-06T09:30:00Z',NULL,1,0,0,0,1006,'Subject 6','Ann <ann@example.com>','jane@example.com','<6@example.com>',X'70FC1E4D889851A75D16D36DE3A863C373E9A1304141C2DD21B4155273BA3EFF',NULL,'{"attachments":[{"contentId":"cid-moved","contentType":"application/pdf","id":"att-moved","name":"moved.pdf","size":9,"url":"/webmail/api/download/attachment/moved"}],"cc":[],"displayableParts":[{"content":"Hello","contentType":"ctTextPlain","id":"0"}],"folderId":"inbox","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<6@example.com>"}],"id":"mail-6","isAnswered":false,"isDraft":false,"isFlagged":false,"isSeen":true,"receiveDate":"20260306T093000Z","size":1006,"subject":"Subject 6","to":[{"address":"jane@example.com","name":""}],"watermark":6}');
INSERT INTO "item" VALUES(7,'mail-7',10,'mail',7,'2026-03-07T09:30:00Z',NULL,0,0,0,0,1007,'Subject 7','Ann <ann@example.com>','jane@example.com','<7@example.com>',X'9D620F0C1E954F7D140016B453CBD8A7FF8AFDC69F36801FB294CABFC7766C75',NULL,'{"cc":[],"displayableParts":[{"content":"Hello","contentType":"ctTextPlain","id":"0"}],"folderId":"nowhere","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<7@example.com>"}],"id":"mail-7","isAnswered":false,"isDraft":false,"isFlagged":false,"isSeen":false,"receiveDate":"20260307T093000Z","size":1007,"subject":"Subject 7","to":[{"address":"jane@example.com","name":""}],"watermark":7}');
INSERT INTO "item" VALUES(8,'contact-1',5,'contact',11,NULL,NULL,1,0,0,0,0,'Jana Nováková','jana@example.com','j@example.org','',X'E0F3412530451E3FDC02C18A2DB46033283BC15C1255B4DDAB8D4A6FAE19B4A1',NULL,'{"birthDay":"19700101","comment":"met in Brno","commonName":"Jana Nováková","companyName":"Example","emailAddresses":[{"address":"jana@example.com"},{"address":"j@example.org"}],"firstName":"Jana","folderId":"people","id":"contact-1","phoneNumbers":[{"number":"+420 1"},{"number":"+420 2"}],"photo":{"id":"photo-1","url":"/webmail/api/download/photo/1"},"surName":"Nováková","watermark":11}');
INSERT INTO "item" VALUES(9,'event-1',6,'event',12,'2026-03-01T09:00:00Z','2026-03-01T10:00:00Z',1,0,0,0,0,'Meeting','Ann <ann@example.com>','jim@example.com','',X'0691EDC393651D287263ACC99AD4C94159AEE2728449701BBF7498187C2AE0B1',NULL,'{"attendees":[{"displayName":"Ann","emailAddress":"ann@example.com","role":"RoleOrganizer"},{"displayName":"","emailAddress":"jim@example.com","role":"RoleRequired"}],"description":"bring cake","end":"20260301T100000Z","folderId":"calendar","id":"event-1","isAllDay":false,"location":"Room 1","rule":{"isSet":true},"start":"20260301T090000Z","summary":"Meeting","watermark":12}');
INSERT INTO "item" VALUES(10,'event-2',6,'event',13,'2026-04-01','2026-04-02',1,0,0,0,0,'Holiday','','','',X'70C7B621505E8A51D417A061625AEDEC4E8098C4821FB8A6B30485706885E53B',NULL,'{"end":"20260402","folderId":"calendar","id":"event-2","isAllDay":true,"start":"20260401","summary":"Holiday","watermark":13}');
INSERT INTO "item" VALUES(11,'task-1',7,'task',14,'2026-03-05T00:00:00Z',NULL,1,0,0,0,0,'Task','','','',X'A84E40EECA00C09C96E794CA3DFEABE3BB534A6D6C0C39CE05395B2680A7B90F',NULL,'{"description":"slowly","done":40,"due":"20260305T000000Z","folderId":"tasks","id":"task-1","priority":"High","status":"tsInProgress","summary":"Task","watermark":14}');
INSERT INTO "item" VALUES(12,'note-1',8,'note',15,'2026-01-02T00:00:00Z',NULL,1,0,0,0,0,'First line','','','',X'2D352CFB72C3359F6C559D9556EF4D0484BBA832CEE25F9090389A385AD15A74',NULL,'{"color":"Yellow","createDate":"20260101T000000Z","folderId":"notes","id":"note-1","modifyDate":"20260102T000000Z","text":"First line\nsecond","watermark":15}');
INSERT INTO "item" VALUES(13,'note-2',8,'note',16,NULL,NULL,1,0,0,0,0,'lone ? surrogate','','','',X'36CFAEFF85382404889A5982A71EF35586ED3FF988071B6841CA3E81BB0C8850',NULL,'{"color":"White","folderId":"notes","id":"note-2","text":"lone \ud800 surrogate","watermark":16}');
INSERT INTO "item" VALUES(15,'mail-8',2,'mail',8,'2026-03-08T09:30:00Z',NULL,1,0,0,0,1008,'Subject 8','Ann <ann@example.com>','jane@example.com','<8@example.com>',X'4225138E7CC75A4ECE2CF6544648493CA56FFA8EA63AF86A6A15D2FACC4FBA52',NULL,'{"cc":[],"displayableParts":[{"content":"Hello","contentType":"ctTextPlain","id":"0"}],"folderId":"inbox","from":{"address":"ann@example.com","name":"Ann"},"headers":[{"type":"mhMessageID","value":"<8@example.com>"}],"id":"mail-8","isAnswered":false,"isDraft":false,"isFlagged":false,"isSeen":true,"receiveDate":"20260308T093000Z","size":1008,"subject":"Subject 8","to":[{"address":"jane@example.com","name":""}],"watermark":8}');
INSERT INTO "item" VALUES(16,'local:00000008-0000-4000-8000-000000000000',11,'note',0,NULL,NULL,1,0,0,0,0,'mine','','','',X'84B3BB4CD361F9A08FA81734BB500C2D1BFDA133199D135E7974B935DE155BB1',NULL,'{"folderId":"notes","id":"local:00000008-0000-4000-8000-000000000000","text":"mine","watermark":0}');
INSERT INTO "item" VALUES(17,'local:lost',11,'mail',0,NULL,NULL,1,0,0,0,0,'lost','','','',X'9C31B28C99787A819587266FDA00C60A99736C6EF3527C7D8B9CF9DDB71C0C36',NULL,'{"displayableParts":[{"content":"its text","contentType":"ctTextPlain"}],"folderId":"inbox","id":"local:lost","subject":"lost","watermark":0}');
CREATE TABLE meta (              -- what the file is: format, server, account, user, address, sync_key, ...
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "meta" VALUES('account','keriodb://user/example.com/jane');
INSERT INTO "meta" VALUES('address','jane@example.com');
INSERT INTO "meta" VALUES('comparison','3');
INSERT INTO "meta" VALUES('finished_at','2026-03-01T10:00:00Z');
INSERT INTO "meta" VALUES('format','7.2.0');
INSERT INTO "meta" VALUES('login','jane@example.com');
INSERT INTO "meta" VALUES('protocol','kerio');
INSERT INTO "meta" VALUES('server','https://mail.example.com');
INSERT INTO "meta" VALUES('sync_key','{"id":1,"version":2}');
INSERT INTO "meta" VALUES('user','jane');
CREATE TABLE outbox (            -- changes made offline, in their order; rows are never deleted
  number    INTEGER PRIMARY KEY AUTOINCREMENT,
  uuid      TEXT NOT NULL UNIQUE,  -- stays the same in every file
  action    TEXT NOT NULL CHECK (action IN ('create', 'edit', 'flags', 'move', 'delete')),
  kind      TEXT NOT NULL,
  item_id   TEXT NOT NULL,       -- '' for a creation
  folder_id TEXT NOT NULL,       -- where the item is, or is to be created
  target_id TEXT NOT NULL,       -- the target of a move, else ''
  watermark INTEGER NOT NULL,    -- the version that was changed; 0 for a creation
  made      TEXT NOT NULL,
  files     INTEGER NOT NULL,    -- the number of its rows in outbox_attachment
  checksum  BLOB NOT NULL,       -- SHA-256 of the columns above (without number), struct and files
  state     TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'sent', 'conflict', 'refused', 'withdrawn')),
  attempt   TEXT NOT NULL DEFAULT '',  -- JSON: recorded before the last call, to find out later what it did
  attempts  INTEGER NOT NULL DEFAULT 0,
  reason    TEXT NOT NULL DEFAULT '',  -- why it is refused or in conflict
  new_id    TEXT NOT NULL DEFAULT '',  -- the server's id of what was created or moved
  struct    TEXT NOT NULL,       -- the members to create or set, JSON
  code      INTEGER NOT NULL DEFAULT 0,  -- the server's error code of a refusal; 0: none
  version   INTEGER NOT NULL DEFAULT 0   -- the item's watermark after the change was sent; 0: unknown
) STRICT;
INSERT INTO "outbox" VALUES(1,'00000001-0000-4000-8000-000000000000','create','mail','','inbox','',0,'2026-02-01T00:00:00Z',2,X'753B10F3BCE7BC449D2F11AEC0A8729801E068B0FFEE50931D9BC1CE73425C1C','pending','',0,'','','{"subject":"offline"}',0,0);
INSERT INTO "outbox" VALUES(2,'00000002-0000-4000-8000-000000000000','create','note','','notes','',0,'2026-02-02T00:00:00Z',0,X'B6E6C5E248553AC34B4561047640136B6E3190635DA51C6B9849BD36383F20E6','sending','{"known":["there-1"],"like":"{\"text\":\"offline\"}","alone":false,"key":"key-1"}',1,'','','{"text":"Grüße"}',0,0);
INSERT INTO "outbox" VALUES(3,'00000003-0000-4000-8000-000000000000','edit','event','event-1','calendar','',12,'2026-02-03T00:00:00Z',0,X'51B6F4906D8378059BF0A28529363CF49AECEBD61497FF7C5E836413DC0BCF44','pending','',0,'','','{"summary":"Changed"}',0,0);
INSERT INTO "outbox" VALUES(4,'00000004-0000-4000-8000-000000000000','flags','mail','mail-1','inbox','',1,'2026-02-04T00:00:00Z',0,X'03575D8AAAA01C26BDE69115EB7E12C749DDB7DA75EFE12A83C14EB5E5C7960D','pending','',0,'','','{"isAnswered":true,"isFlagged":false,"isSeen":true}',0,0);
INSERT INTO "outbox" VALUES(5,'00000005-0000-4000-8000-000000000000','move','mail','mail-2','inbox','a/b',9007199254740993,'2026-02-05T00:00:00Z',0,X'242C6FB6C2457625BA19119B657C909E433A3810C27DD6CB8238FE171FB8227F','sent','{"known":["there-1"],"like":"{\"text\":\"offline\"}","alone":false,"key":"key-1"}',1,'','mail-2b','{}',0,44);
INSERT INTO "outbox" VALUES(6,'00000006-0000-4000-8000-000000000000','delete','contact','contact-1','people','',11,'2026-02-06T00:00:00Z',0,X'D2C470D535DCCE4A45164C0EA6E82C31BC3931C601720945780C4AEE54DEB56F','sent','',1,'','','{}',0,0);
INSERT INTO "outbox" VALUES(7,'00000007-0000-4000-8000-000000000000','edit','task','task-1','tasks','',14,'2026-02-07T00:00:00Z',0,X'072F0686D48B6A7FAFD09ACFFBE8060299345B55519DDC149503B4BDD1883BBD','refused','',1,'No room. (code 4102)','','{"done":50}',4102,0);
INSERT INTO "outbox" VALUES(8,'00000008-0000-4000-8000-000000000000','edit','note','note-1','notes','',14,'2026-02-08T00:00:00Z',1,X'87E1542452F18B36E67AB7C4C9207BCF8E7DDC7322EBFDD92E74F528DE7AD62D','conflict','',0,'the server has version 15','','{"text":"mine"}',0,0);
INSERT INTO "outbox" VALUES(9,'00000009-0000-4000-8000-000000000000','delete','mail','mail-9','inbox','',3,'2026-02-09T00:00:00Z',0,X'2C147E42DA141C9CF1748BEDE15E07EF7ACC873966495C3E294CC4C270CD1D25','withdrawn','',0,'','','{}',0,0);
INSERT INTO "outbox" VALUES(10,'00000010-0000-4000-8000-000000000000','flags','mail','mail-4','a/b','',0,'2026-02-10T00:00:00Z',0,X'DE5E5E115483945B2933627E207805DFE6AE614AFC31BD1FE4A781AAC455BFD4','pending','',0,'','','{"isSeen":false,"isForwarded":true}',0,0);
INSERT INTO "outbox" VALUES(11,'00000011-0000-4000-8000-000000000000','create','note','','notes','',0,'2026-02-11T00:00:00Z',0,X'8FCDB536B724D5B0EF3C53DF81264719B923FD359206A216AD458F69D2F30B06','sent','{"known":["there-1"],"like":"{\"text\":\"offline\"}","alone":false,"key":"key-1"}',1,'','note-45','{"text":"sent before"}',0,45);
INSERT INTO "outbox" VALUES(12,'00000012-0000-4000-8000-000000000000','edit','note','local:00000011-0000-4000-8000-000000000000','notes','',0,'2026-02-12T00:00:00Z',0,X'8AF07D0E9A87CEE77AB5E51E9A7DBD3B82DC4496FD25A13FBE205AC1D39321CB','pending','',0,'','','{"text":"after it was sent"}',0,0);
CREATE TABLE outbox_attachment (
  number       INTEGER PRIMARY KEY,
  change       INTEGER NOT NULL REFERENCES outbox (number) ON DELETE CASCADE,
  ordinal      INTEGER NOT NULL,
  name         TEXT NOT NULL,
  content_type TEXT NOT NULL,
  content_id   TEXT NOT NULL,
  size         INTEGER NOT NULL,
  sha256       BLOB NOT NULL,
  UNIQUE (change, ordinal)
) STRICT;
INSERT INTO "outbox_attachment" VALUES(1,1,0,'a.txt','text/plain','cid',12,X'8E56B639882EF91F67C597965DFB451CBD2E4B41D1A8CD9B01DD3241AA518796');
INSERT INTO "outbox_attachment" VALUES(2,1,1,'b.txt','text/plain','',0,X'E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855');
INSERT INTO "outbox_attachment" VALUES(3,8,0,'c.bin','application/octet-stream','',40,X'5FAA4EEC3611556812C2D74B437C8C49ADD3F910F10063D801441F7D75CD5E3B');
CREATE TABLE outbox_chunk (
  attachment INTEGER NOT NULL REFERENCES outbox_attachment (number) ON DELETE CASCADE,
  "offset"   INTEGER NOT NULL,
  crc32      INTEGER NOT NULL,
  data       BLOB NOT NULL,
  UNIQUE (attachment, "offset")
) STRICT;
INSERT INTO "outbox_chunk" VALUES(1,0,394944620,X'636F6E74656E74206F662061');
INSERT INTO "outbox_chunk" VALUES(3,0,228994620,X'000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F2021222324252627');
CREATE TABLE seen (              -- the stored items that the server's list had, by comparison
  item  INTEGER PRIMARY KEY,
  round INTEGER NOT NULL
) STRICT;
INSERT INTO "seen" VALUES(1,3);
INSERT INTO "seen" VALUES(2,3);
CREATE TABLE skipped (           -- what is left out, and why
  scope  TEXT NOT NULL,
  id     TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (scope, id)
) STRICT, WITHOUT ROWID;
INSERT INTO "skipped" VALUES('folder','locked','Access denied.');
INSERT INTO "skipped" VALUES('item','mail-23','The server sent it in an invalid form.');
CREATE TABLE wanted (            -- the fetch queue: items that are missing here, or newer on the server
  id             TEXT PRIMARY KEY,
  folder         INTEGER NOT NULL REFERENCES folder (number) ON DELETE CASCADE,
  kind           TEXT NOT NULL,
  watermark      INTEGER NOT NULL,
  size           INTEGER NOT NULL,
  date           TEXT NOT NULL,  -- '' if unknown
  has_attachment INTEGER NOT NULL,
  rank           INTEGER NOT NULL,
  keep           INTEGER NOT NULL DEFAULT 0,  -- 1: it was moved; its attachments are stored and stay
  late           INTEGER NOT NULL DEFAULT 0   -- 1: the server has sent an older version than this once
) STRICT, WITHOUT ROWID;
INSERT INTO "wanted" VALUES('mail-1',2,'mail',4,10,'2026-03-01T09:30:00Z',0,0,0,1);
INSERT INTO "wanted" VALUES('mail-20',2,'mail',20,500,'2026-03-20T00:00:00Z',1,0,0,0);
INSERT INTO "wanted" VALUES('mail-21',2,'mail',0,0,'',0,0,0,0);
INSERT INTO "wanted" VALUES('mail-22',2,'mail',22,0,'',0,0,0,0);
INSERT INTO "wanted" VALUES('mail-6-moved',3,'mail',6,1006,'2026-03-06T09:30:00Z',1,10,1,0);
CREATE INDEX item_by_kind ON item (kind, id, watermark, folder, size);
CREATE INDEX item_by_folder ON item (folder, seen);
CREATE INDEX item_by_date ON item (kind, date);
CREATE INDEX attachment_wanted ON attachment (state, number, size) WHERE state = 'wanted';
CREATE INDEX wanted_in_order ON wanted (rank, date DESC, id);
CREATE INDEX wanted_by_folder ON wanted (folder);
CREATE TRIGGER seen_goes AFTER DELETE ON item BEGIN  -- no reference: checking it would read each item
  DELETE FROM seen WHERE item = old.number;
END;
CREATE INDEX outbox_by_state ON outbox (state, number);
CREATE VIEW folder_tree AS
SELECT path, kind, role, place,
  (SELECT count(*) FROM item WHERE item.folder = folder.number) AS items,
  (SELECT count(*) FROM item WHERE item.folder = folder.number AND item.seen = 0) AS unread,
  (SELECT count(*) FROM wanted WHERE wanted.folder = folder.number) AS missing,
  listed, id, number
FROM folder ORDER BY path;
CREATE VIEW mail AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.recipients, item.title AS subject, item.size,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number) AS has_attachment,
  item.seen, item.flagged, item.answered, item.draft,
  coalesce(
    (SELECT json_extract(part.value, '$.content') FROM json_each(item.payload, '$.displayableParts') AS part
      WHERE json_extract(part.value, '$.contentType') = 'ctTextPlain' LIMIT 1),
    json_extract(item.payload, '$.displayableParts[0].content')) AS text,
  (SELECT json_extract(part.value, '$.content') FROM json_each(item.payload, '$.displayableParts') AS part
    WHERE json_extract(part.value, '$.contentType') = 'ctTextHtml' LIMIT 1) AS html,
  item.message_id, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'mail';
CREATE VIEW mail_attachment AS
SELECT item.date, folder.path AS folder, item.who AS sender, item.title AS subject,
  attachment.name, attachment.content_type, coalesce(attachment.size, attachment.received) AS size,
  attachment.state, attachment.received, attachment.reason,
  CASE WHEN attachment.sha256 IS NOT NULL THEN lower(hex(attachment.sha256)) END AS sha256,
  attachment.number, item.number AS mail
FROM attachment JOIN item ON item.number = attachment.item JOIN folder ON folder.number = item.folder
WHERE item.kind = 'mail';
CREATE VIEW contact AS
SELECT item.title AS name, json_extract(item.payload, '$.firstName') AS first_name,
  json_extract(item.payload, '$.surName') AS last_name, json_extract(item.payload, '$.companyName') AS company,
  item.who AS address,
  (SELECT group_concat(json_extract(one.value, '$.address'), ', ')
    FROM json_each(item.payload, '$.emailAddresses') AS one) AS addresses,
  (SELECT group_concat(json_extract(one.value, '$.number'), ', ')
    FROM json_each(item.payload, '$.phoneNumbers') AS one) AS phones,
  json_extract(item.payload, '$.birthDay') AS birthday, json_extract(item.payload, '$.comment') AS comment,
  EXISTS (SELECT 1 FROM attachment WHERE attachment.item = item.number) AS has_photo,
  folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'contact';
CREATE VIEW event AS
SELECT item.date AS starts, item."end" AS ends, item.title AS summary,
  json_extract(item.payload, '$.location') AS location, item.who AS organiser, item.recipients AS attendees,
  json_extract(item.payload, '$.isAllDay') AS all_day, json_extract(item.payload, '$.rule.isSet') AS recurring,
  json_extract(item.payload, '$.description') AS description, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'event';
CREATE VIEW task AS
SELECT item.date AS due, item.title AS summary, json_extract(item.payload, '$.status') AS status,
  json_extract(item.payload, '$.done') AS done, json_extract(item.payload, '$.priority') AS priority,
  json_extract(item.payload, '$.description') AS description, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'task';
CREATE VIEW note AS
SELECT item.date AS modified, item.title, json_extract(item.payload, '$.text') AS text,
  json_extract(item.payload, '$.color') AS color, folder.path AS folder, item.id, item.number
FROM item JOIN folder ON folder.number = item.folder WHERE item.kind = 'note';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',12);
COMMIT;
