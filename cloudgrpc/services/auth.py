"""AuthService: sign in by e-mail code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cloudgrpc.core.units import day, rfc3339
from cloudgrpc.pb import cloud_storage_pb2 as pb
from cloudgrpc.pb.cloud_storage_pb2_grpc import AuthServiceServicer
from cloudgrpc.rpc import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc

    from cloudgrpc.actions.account_care import AccountCare
    from cloudgrpc.actions.accounts import Accounts

    Context = grpc.aio.ServicerContext[Any, Any]


class AuthService(AuthServiceServicer):
    def __init__(self, accounts: Accounts, care: AccountCare) -> None:
        self._accounts = accounts
        self._care = care

    async def SendOTP(self, request: pb.SendOTPRequest, _context: Context) -> pb.SendOTPResponse:
        email = await self._accounts.send_code(request.email)
        return pb.SendOTPResponse(success=True, message=f"A code was sent to {email}; it is valid for 5 minutes.")

    async def VerifyOTP(self, request: pb.VerifyOTPRequest, _context: Context) -> pb.VerifyOTPResponse:
        token = await self._accounts.verify_code(request.email, request.otp)
        return pb.VerifyOTPResponse(success=True, message="The code is right.", verification_token=token)

    async def Enroll(self, request: pb.EnrollRequest, _context: Context) -> pb.EnrollResponse:
        token, caller = await self._accounts.enroll(request.email, request.full_name, request.verification_token)
        return pb.EnrollResponse(
            success=True, message=f"Welcome, {caller.full_name}.", session_token=token, user_id=caller.account_id
        )

    async def Login(self, request: pb.LoginRequest, _context: Context) -> pb.LoginResponse:
        token, caller = await self._accounts.log_in(request.email, request.verification_token)
        return pb.LoginResponse(
            success=True, message=f"Welcome back, {caller.full_name}.", session_token=token, user_id=caller.account_id
        )

    async def Logout(self, request: pb.LogoutRequest, _context: Context) -> pb.LogoutResponse:
        await self._accounts.log_out(request.session_token)
        return pb.LogoutResponse(success=True, message="You are signed out.")

    async def WhoAmI(self, request: pb.WhoAmIRequest, _context: Context) -> pb.WhoAmIResponse:
        caller = await self._accounts.owner(request.session_token)
        return pb.WhoAmIResponse(
            success=True,
            user_id=caller.account_id,
            email=caller.email,
            full_name=caller.full_name,
            created_at=rfc3339(caller.created_at),
            session_expires_at=rfc3339(caller.session_expires_at),
            closes_at=rfc3339(caller.closes_at),
        )

    async def ListSessions(self, request: pb.ListSessionsRequest, _context: Context) -> pb.ListSessionsResponse:
        caller = await self._accounts.owner(request.session_token)
        sessions = [
            pb.SessionInfo(
                session_id=one.session_id,
                created_at=rfc3339(one.created_at),
                last_used_at=rfc3339(one.last_used_at),
                expires_at=rfc3339(one.expires_at),
                peer=one.host,
                client=one.client,
                is_current=one.session_id == caller.session_id,
            )
            for one in await self._care.sessions(caller)
        ]
        return pb.ListSessionsResponse(success=True, sessions=sessions)

    async def EndSession(self, request: pb.EndSessionRequest, _context: Context) -> pb.EndSessionResponse:
        caller = await self._accounts.owner(request.session_token)
        ended = await self._care.end_session(caller, request.session_id, others=request.others)
        words = "1 session was ended." if ended == 1 else f"{ended} sessions were ended."
        return pb.EndSessionResponse(success=True, message=words, ended=ended)

    async def ChangeName(self, request: pb.ChangeNameRequest, _context: Context) -> pb.ChangeNameResponse:
        caller = await self._accounts.owner(request.session_token)
        name = await self._care.change_name(caller, request.full_name)
        return pb.ChangeNameResponse(success=True, message=f"You are {name} now.", full_name=name)

    async def ExportAccount(
        self, request: pb.ExportAccountRequest, _context: Context
    ) -> AsyncIterator[pb.ExportAccountResponse]:
        caller = await self._accounts.owner(request.session_token)
        async for piece in self._care.export(caller):
            data = piece.encode()
            for start in range(0, len(data), PIECE_BYTES):
                yield pb.ExportAccountResponse(data=data[start : start + PIECE_BYTES])

    async def CloseAccount(self, request: pb.CloseAccountRequest, _context: Context) -> pb.CloseAccountResponse:
        caller = await self._accounts.owner(request.session_token)
        closes_at = await self._care.close(caller, self._accounts.proof_digest(request.verification_token))
        words = f"The account is closed; its files go on {day(closes_at)}, and until then you can take it back."
        return pb.CloseAccountResponse(success=True, message=words, closes_at=rfc3339(closes_at))

    async def ReopenAccount(self, request: pb.ReopenAccountRequest, _context: Context) -> pb.ReopenAccountResponse:
        was_closed = await self._care.reopen(await self._accounts.owner(request.session_token))
        words = "The account is open again." if was_closed else "The account is open; nothing was to be taken back."
        return pb.ReopenAccountResponse(success=True, message=words)
