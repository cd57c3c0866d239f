BEGIN TRANSACTION;
CREATE TABLE actions (
        action_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        scope TEXT NOT NULL,
        stage INTEGER NOT NULL,
        mode TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        severity TEXT NOT NULL,
        message TEXT NOT NULL,
        details TEXT NOT NULL
    ) STRICT;
INSERT INTO "actions" VALUES(1,1700000025.0,'binance_futures',0,'',0,'flow_booked','INFO','operator@test booked +20.00: rent','{"amount":20.0,"actor":"operator@test","reason":"rent"}');
INSERT INTO "actions" VALUES(2,1700000046.05,'binance_futures',1,'CLOSE_TOP_RISK_CONTRIBUTORS',0,'trigger','CRITICAL','REDUCED_TOP_RISK: drawdown 5.19% over 15m reached 4.50%; source SHORT; SOLUSDT SHORT 100 -> 50.00.','{"incident_id":"84g7loyw4ule0","takes_over":null,"reason":"drawdown 5.19% over 15m reached 4.50%","equity":9500.0,"source":"SHORT","losses_long":0.0,"losses_short":500.0,"unexplained_fraction":0.0385,"targets":"SOLUSDT SHORT 100 -> 50.00","kept":"","net_exposure_before":"-10000.00 (BTC 3000.00, SOL -10500.00, XRP -2500.00)","net_exposure_after":"-4750.00 (BTC 3000.00, SOL -5250.00, XRP -2500.00)","is_more_directional":false,"notes":"","drawdown":0.0519,"threshold":0.045,"window":"15m","peak_equity":10020.04}');
INSERT INTO "actions" VALUES(3,1700000052.1,'binance_futures',1,'CLOSE_TOP_RISK_CONTRIBUTORS',0,'incident_done','INFO','REDUCED_TOP_RISK DONE: SOLUSDT SHORT HELD','{"incident_id":"84g7loyw4ule0","rounds":4}');
INSERT INTO "actions" VALUES(4,1700000063.0,'binance_futures',1,'',0,'reset','WARNING','operator@test reset binance_futures from REDUCED_TOP_RISK','{"actor":"operator@test","reason":"","is_forced":false,"abandoned":null,"missed":""}');
CREATE TABLE close_targets (
        incident_id TEXT NOT NULL,
        number INTEGER NOT NULL,
        dry_run INTEGER NOT NULL,
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        initial_quantity TEXT NOT NULL,
        may_remain TEXT NOT NULL,
        status TEXT NOT NULL,
        PRIMARY KEY (incident_id, number)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "close_targets" VALUES('84g7loyw4ule0',1,0,'binance_futures','SOLUSDT','SHORT','100','50.00','HELD');
CREATE TABLE flows (
        scope TEXT NOT NULL,
        record_id TEXT NOT NULL,
        ts REAL NOT NULL,
        amount REAL NOT NULL,
        kind TEXT NOT NULL,
        asset TEXT NOT NULL,
        effective_ts REAL,
        factor REAL NOT NULL,
        is_inferred INTEGER NOT NULL,
        is_cancelled INTEGER NOT NULL,
        PRIMARY KEY (scope, record_id)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "flows" VALUES('binance_futures','by-hand-1',1700000025.0,20.0,'TRANSFER','USDT',1700000030.0,1.0020040080160319551e+00,1,0);
CREATE TABLE incidents (
        incident_id TEXT PRIMARY KEY,
        book TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        stage INTEGER NOT NULL,
        mode TEXT NOT NULL,
        source TEXT NOT NULL,
        reason TEXT NOT NULL,
        status TEXT NOT NULL,
        opened_ts REAL NOT NULL,
        ended_ts REAL,
        last_progress_ts REAL NOT NULL,
        held_ts REAL,
        rounds INTEGER NOT NULL,
        alerts_sent INTEGER NOT NULL,
        is_followup INTEGER NOT NULL,
        had_positions_since_peak INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "incidents" VALUES('84g7loyw4ule0','binance_futures',0,1,'CLOSE_TOP_RISK_CONTRIBUTORS','SHORT','drawdown 5.19% over 15m reached 4.50%','DONE',1700000046.05,1700000052.1,1700000046.45,1700000046.45,4,0,0,1);
CREATE TABLE operator_requests (
        request_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        actor TEXT NOT NULL,
        command TEXT NOT NULL,
        arguments TEXT NOT NULL,
        confirmation TEXT NOT NULL,
        answered_ts REAL,
        accepted INTEGER,
        answer TEXT
    ) STRICT;
INSERT INTO "operator_requests" VALUES(1,1700000025.0,'operator@test','flow','{"amount":"20","book":"binance_futures","reason":"rent"}','',1700000025.0,1,'booked +20.00 on binance_futures');
INSERT INTO "operator_requests" VALUES(2,1700000062.2,'operator@test','reset','{"book":"binance_futures"}','binance_futures',1700000063.0,1,'binance_futures is NORMAL; drawdown counts from now; its lock is lifted');
CREATE TABLE orders (
        order_number INTEGER PRIMARY KEY,
        incident_id TEXT NOT NULL,
        action TEXT NOT NULL,
        client_id TEXT NOT NULL,
        subject TEXT NOT NULL,
        round_number INTEGER NOT NULL,
        dry_run INTEGER NOT NULL,
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        row_symbol TEXT,
        row_side TEXT,
        order_side TEXT NOT NULL,
        quantity TEXT NOT NULL,
        created_ts REAL NOT NULL,
        answered_ts REAL,
        outcome TEXT,
        venue_order_id TEXT,
        filled TEXT,
        refusal TEXT,
        code TEXT,
        message TEXT,
        retry_after_s REAL,
        UNIQUE (incident_id, action, client_id, subject, round_number)
    ) STRICT;
INSERT INTO "orders" VALUES(1,'84g7loyw4ule0','CLOSE','ks-84g7loyw4ule0-1-1-1','',1,0,'binance_futures','SOLUSDT','SOLUSDT','SHORT','BUY','50.00',1700000046.1,1700000046.15,'DONE','1000001','50.00',NULL,NULL,NULL,NULL);
CREATE TABLE position_snapshots (
        scope TEXT NOT NULL,
        ts REAL NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity TEXT,
        entry_price REAL,
        mark_price REAL,
        unrealised_pnl REAL,
        liquidation_price REAL,
        margin REAL,
        margin_mode TEXT,
        result REAL,
        PRIMARY KEY (scope, ts, symbol, side)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000000.05,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',NULL);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000000.05,'SOLUSDT','SHORT','100',100.0,100.0,0.0,1.9876119402985074203e+02,500.0,'CROSS',NULL);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000000.05,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.47522388059701503593e+00,125.0,'CROSS',NULL);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000010.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000010.0,'SOLUSDT','SHORT','100',100.0,100.0,0.0,1.9876119402985074203e+02,500.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000010.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.47522388059701503593e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000020.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000020.0,'SOLUSDT','SHORT','100',100.0,100.0,0.0,1.9876119402985074203e+02,500.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000020.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.47522388059701503593e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000030.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000030.0,'SOLUSDT','SHORT','100',100.0,100.0,0.0,1.9876119402985074203e+02,500.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000030.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.47522388059701503593e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000040.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000040.0,'SOLUSDT','SHORT','100',100.0,105.0,-500.0,1.9876119402985074203e+02,525.0,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000040.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.37522388059701494711e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000043.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000043.0,'SOLUSDT','SHORT','100',100.0,105.0,-500.0,1.9876119402985074203e+02,525.0,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000043.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.37522388059701494711e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000046.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000046.0,'SOLUSDT','SHORT','100',100.0,105.0,-500.0,1.9876119402985074203e+02,525.0,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000046.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.37522388059701494711e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000049.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000049.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.92992537313432819699e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000049.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.37992537313432839241e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000052.0,'BTCUSDT','LONG','0.05',60000.0,60000.0,0.0,NULL,150.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000052.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.92992537313432819699e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000052.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.37992537313432839241e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000055.0,'BTCUSDT','LONG','0',NULL,NULL,NULL,NULL,NULL,NULL,0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000055.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.93201492537313413312e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000055.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.38201492537313441744e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000058.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.93201492537313413312e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000058.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.38201492537313441744e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000061.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.93201492537313413312e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000061.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.38201492537313441744e+00,125.0,'CROSS',0.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000064.0,'SOLUSDT','SHORT','50.00',100.0,105.0,-250.0,2.93201492537313413312e+02,262.5,'CROSS',-500.0);
INSERT INTO "position_snapshots" VALUES('binance_futures',1700000064.0,'XRPUSDT','SHORT','5000',0.5,0.5,0.0,2.38201492537313441744e+00,125.0,'CROSS',0.0);
CREATE TABLE row_results (
        scope TEXT NOT NULL,
        symbol TEXT NOT NULL,
        side TEXT NOT NULL,
        result REAL NOT NULL,
        PRIMARY KEY (scope, symbol, side)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "row_results" VALUES('binance_futures','BTCUSDT','LONG',0.0);
INSERT INTO "row_results" VALUES('binance_futures','SOLUSDT','SHORT',-500.0);
INSERT INTO "row_results" VALUES('binance_futures','XRPUSDT','SHORT',0.0);
CREATE TABLE scope_stage_state (
        book TEXT NOT NULL,
        dry_run INTEGER NOT NULL,
        stage INTEGER NOT NULL CHECK (stage BETWEEN 0 AND 4),
        since_ts REAL NOT NULL,
        baseline_ts REAL NOT NULL,
        stage_1_baseline_ts REAL NOT NULL,
        stage_2_baseline_ts REAL NOT NULL,
        stage_3_baseline_ts REAL NOT NULL,
        stage_1_cooldown_ts REAL NOT NULL,
        stage_2_cooldown_ts REAL NOT NULL,
        stage_3_cooldown_ts REAL NOT NULL,
        manual_reset_required INTEGER NOT NULL,
        incident_id TEXT,
        streaks TEXT NOT NULL,
        locks TEXT NOT NULL,
        PRIMARY KEY (book, dry_run)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "scope_stage_state" VALUES('binance_futures',0,0,1700000063.0,1700000061.0,0.0,0.0,0.0,0.0,0.0,0.0,0,NULL,'[]','[]');
CREATE TABLE scope_state (
        scope TEXT PRIMARY KEY,
        units REAL NOT NULL,
        unexplained REAL NOT NULL,
        ledger_until_ts REAL NOT NULL,
        ledger_asked_ts REAL NOT NULL,
        watch_began_ts REAL NOT NULL,
        failures INTEGER NOT NULL,
        cross_check_alerted INTEGER NOT NULL,
        blind_alerted INTEGER NOT NULL,
        suspicion TEXT,
        flow_ids TEXT NOT NULL,
        accepted_losses TEXT NOT NULL,
        entries TEXT NOT NULL,
        last_trusted TEXT
    ) STRICT, WITHOUT ROWID;
INSERT INTO "scope_state" VALUES('binance_futures',1.0020040080160319551e+00,-24.125,1700000043.0,1700000040.05,1700000000.1,0,0,0,NULL,'["by-hand-1"]','[]','[]','{"scope":"binance_futures","asked_at":1700000064.0,"equity":9495.875,"wallet":9745.875,"unrealised_pnl":-250.0,"position_mode":"ONE_WAY","wallet_defines_equity":true,"server_offset_s":null,"positions":[{"symbol":"SOLUSDT","base":"SOL","side":"SHORT","quantity":"50.00","entry_price":100.0,"mark_price":105.0,"unrealised_pnl":-250.0,"liquidation_price":293.2014925373134,"margin_mode":"CROSS","margin":262.5,"margin_asset":"USDT"},{"symbol":"XRPUSDT","base":"XRP","side":"SHORT","quantity":"5000","entry_price":0.5,"mark_price":0.5,"unrealised_pnl":-0.0,"liquidation_price":2.3820149253731344,"margin_mode":"CROSS","margin":125.0,"margin_asset":"USDT"}],"coins":[]}');
CREATE TABLE snapshots (
        scope TEXT NOT NULL,
        ts REAL NOT NULL,
        asked_ts REAL,
        judged_ts REAL,
        trust TEXT NOT NULL,
        equity REAL,
        reported_equity REAL,
        wallet REAL,
        unrealised_pnl REAL,
        nav REAL,
        unexplained REAL,
        may_be_peak INTEGER,
        position_mode TEXT,
        reasons TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (scope, ts)
    ) STRICT, WITHOUT ROWID;
INSERT INTO "snapshots" VALUES('binance_futures',1700000000.05,1700000000.05,1700000000.05,'TRUSTED',10000.0,10000.0,10000.0,0.0,10000.0,0.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000010.0,1700000010.0,1700000010.0,'TRUSTED',10000.0,10000.0,10000.0,0.0,10000.0,0.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000020.0,1700000020.0,1700000020.0,'TRUSTED',10000.0,10000.0,10000.0,0.0,10000.0,0.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000030.0,1700000030.0,1700000030.0,'TRUSTED',10000.0,10000.0,10000.0,0.0,9.9800000000000018193e+03,-20.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000040.0,1700000040.0,1700000040.0,'TRUSTED',9500.0,9500.0,10000.0,-500.0,9.48100000000000181932e+03,-20.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000043.0,1700000043.0,1700000043.0,'TRUSTED',9500.0,9500.0,10000.0,-500.0,9.48100000000000181932e+03,-20.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000046.0,1700000046.0,1700000046.0,'TRUSTED',9500.0,9500.0,10000.0,-500.0,9.48100000000000181932e+03,-20.0,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000049.0,1700000049.0,1700000049.0,'TRUSTED',9497.375,9497.375,9747.375,-250.0,9478.38025,-22.625,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000052.0,1700000052.0,1700000052.0,'TRUSTED',9497.375,9497.375,9747.375,-250.0,9478.38025,-22.625,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000055.0,1700000055.0,1700000055.0,'TRUSTED',9495.875,9495.875,9745.875,-250.0,9476.88325,-24.125,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000058.0,1700000058.0,1700000058.0,'TRUSTED',9495.875,9495.875,9745.875,-250.0,9476.88325,-24.125,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000061.0,1700000061.0,1700000061.0,'TRUSTED',9495.875,9495.875,9745.875,-250.0,9476.88325,-24.125,1,'ONE_WAY','');
INSERT INTO "snapshots" VALUES('binance_futures',1700000064.0,1700000064.0,1700000064.0,'TRUSTED',9495.875,9495.875,9745.875,-250.0,9476.88325,-24.125,1,'ONE_WAY','');
CREATE TABLE store_facts (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "store_facts" VALUES('instance_tag','84g7');
CREATE TABLE switch_state (
        store TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        since_ts REAL NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL,
        revision INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
INSERT INTO "switch_state" VALUES('local','running',1700000063.0,'ann@desk','back',2);
INSERT INTO "switch_state" VALUES('redis','running',1700000062.5,'redis','',0);
CREATE TABLE switch_transitions (
        transition_id INTEGER PRIMARY KEY AUTOINCREMENT,
        ts REAL NOT NULL,
        old_state TEXT NOT NULL,
        new_state TEXT NOT NULL,
        store TEXT NOT NULL,
        actor TEXT NOT NULL,
        reason TEXT NOT NULL
    ) STRICT;
INSERT INTO "switch_transitions" VALUES(1,1700000062.0,'running','pause','local','ann@desk','holiday');
INSERT INTO "switch_transitions" VALUES(2,1700000063.0,'pause','running','local','ann@desk','back');
CREATE INDEX position_snapshots_not_held
        ON position_snapshots (scope, ts, symbol, side, result) WHERE mark_price IS NULL;
CREATE INDEX flows_by_ts ON flows (scope, ts);
CREATE INDEX incidents_open ON incidents (dry_run, book) WHERE status = 'OPEN';
CREATE INDEX operator_requests_pending
        ON operator_requests (request_id) WHERE answered_ts IS NULL;
CREATE INDEX actions_by_kind ON actions (dry_run, action_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('operator_requests',2);
INSERT INTO "sqlite_sequence" VALUES('actions',4);
INSERT INTO "sqlite_sequence" VALUES('switch_transitions',2);
COMMIT;
