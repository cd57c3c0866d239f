# `make demo` and `make test` are the only set-up commands; the rest is for developers.
PYTHON ?= python3
BIN := .venv/bin
PURE := model switch_model inspection policy errors memory lock_document exposure order_sizes client_ids coin_sales plans \
	cancels order_safety \
	drawdown aging ledger flows explanation suspicion sight verdict trust risk_attribution book_locks \
	stage_events stage_guards stage_machine stage_recovery openings incident_audits incidents operator_requests \
	draft timekeeping decision findings closability close_previews account_findings \
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

# Four at a time on any machine: the slow ones wait for real processes. The pure core is measured by
# the tests that are nearest to it; to measure the stories of whole guards as well takes twice as long.
STORIES := tests/recovery $(wildcard $(addprefix tests/test_,simulation*.py spot_*.py venue_*.py bad_*.py \
	several_accounts.py practice.py kill.py soak.py test_mock.py machine_faults.py integration.py calm_check.py \
	canaries.py alerting.py alert_desk.py heartbeat.py bybit_*.py bitget_*.py binance_*.py simulator_*.py check_recordings.py))
test: .venv/dev
	@$(BIN)/python -m pytest -n 4 $(foreach name,$(PURE),--cov=$(name)) --cov-branch \
		--cov-report=term-missing:skip-covered --cov-fail-under=100 tests $(STORIES:%=--ignore=%)
	@$(BIN)/python -m pytest -n 4 $(STORIES)

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
