# `make demo` and `make test` are the only set-up commands; the rest is for developers.
PYTHON ?= python3
BIN := .venv/bin
PURE := model switch_model switch_rules inspection policy errors memory lock_document exposure order_sizes client_ids coin_sales plans \
	cancels order_safety \
	drawdown aging ledger flows explanation suspicion sight verdict trust risk_attribution book_locks \
	stage_events stage_guards stage_machine stage_recovery openings incident_audits incidents operator_requests \
	draft timekeeping switch_steps decision findings closability close_previews account_findings \
	alerts approach quietening

.PHONY: demo test test-examples kill-test mutants soak simulate check format lock clean

.venv/runtime: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch .venv/runtime $@

demo: .venv/runtime
	@$(BIN)/python killswitch.py --test-mock

# Four at a time on any machine: the slow ones wait for real processes. Who has finished takes over
# what others have left. The pure core is measured by the tests that are nearest to it: to measure
# whole guards and tools as well takes twice as long. What is compiled is kept, and made once before
# all the others need it: each of the eight processes would compile every file itself.
unexport PYTHONDONTWRITEBYTECODE
STORIES := $(wildcard $(addprefix tests/test_,simulation*.py kill.py test_mock.py integration.py \
	machine_faults.py canaries.py)) tests/recovery $(wildcard $(addprefix tests/test_,alert_desk.py \
	alerting.py bad_*.py heartbeat.py notifier.py \
	binance_*.py bitget_*.py bybit_*.py calm_check.py ccxt_bot.py check.py check_recordings.py \
	commands.py config_file.py db_stats.py decision_log.py docs.py exchange_library.py guardian.py \
	lessons.py log_page.py logger.py loop.py mutants.py node_bot.py practice.py redis_bot.py \
	operator_page.py restarts.py retention.py service*.py several_accounts.py shutdown.py \
	simulator_*.py soak.py spot_*.py switch_command.py switch_drill.py switch_matrix.py \
	switch_screen.py switch_stories.py switch_wire.py tick_cost.py tidy.py tools.py two_venues.py \
	venue_*.py))
CORE := tests $(STORIES:%=--ignore=%)
PYTEST := $(BIN)/python -m pytest
test: .venv/dev
	@$(PYTEST) --collect-only -qq $(STORIES) > /dev/null & \
		$(PYTEST) --collect-only -qq $(CORE) > /dev/null; wait
	@$(PYTEST) -n 4 --dist worksteal $(foreach name,$(PURE),--cov=$(name)) --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=100 $(CORE)
	@$(PYTEST) -n 4 --dist worksteal $(STORIES)

# A real guard is killed with -9 at every order and cancel of an incident, over 200 times.
kill-test: .venv/dev
	@$(BIN)/python tools/kill_test.py

# The worst faults, put into a copy of the source one at a time: the tests must notice each.
mutants: .venv/dev
	@$(BIN)/python tools/mutants.py

# A day in virtual time at a venue that fails a fifth of all requests; 72 for a full history.
HOURS ?= 24
soak: .venv/dev
	@$(BIN)/python -m benchmarks.soak --hours $(HOURS)

# Drawn stories against a whole guard in virtual time, judged at every step; a seed replays one.
SEEDS ?= 1000
START ?= 1
simulate: .venv/dev
	@$(BIN)/python -m tools.simulate --seeds $(SEEDS) --start $(START)

check: .venv/dev
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy --no-error-summary

format: .venv/dev
	@$(BIN)/ruff format -q .
	@$(BIN)/ruff check -q --fix .

# Compile exact versions with hashes, because this process holds trading keys.
lock: .venv/dev
	@$(BIN)/python -m pip install -qq uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		requirements.in -o requirements.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		-c requirements.txt requirements-dev.in -o requirements-dev.txt
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
		examples/requirements-freqtrade.in -o examples/requirements-freqtrade.txt

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
